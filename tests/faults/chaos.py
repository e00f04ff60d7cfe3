"""Processes of every kind die at any moment, and callers are told the truth all the same."""

import asyncio
import random
import time

import ledger
from caller import SHELL
from exchange import Broken, NotSent
from processes import accepts
from stage import Stage, done, each, until
from verdicts import Verdicts

CALLS = {False: 600, True: 10_000}
# Over how long they are spread: what cannot be served meanwhile piles up.
CALLS_SECONDS = {False: 40, True: 300}
ENVIRONMENTS = {False: 18, True: 48}
KILL_EVERY = 5
KINDS = ("gateway", "worker", "redis", "sentinel")
# Some are back before anybody agreed that they are gone, others long after another one took their place.
AWAY_SECONDS = (0.3, 9.0)
AT_ONCE = 2
MOST_WORK_SECONDS = 0.5
SETTLE_SECONDS = 20


async def run(stage: Stage, verdicts: Verdicts):
    """Every five seconds one process of any kind is killed with -9, and comes back after a while, under keyed calls."""
    stage.start(3, 3, stage.watched_redis())
    handles = await each(range(ENVIRONMENTS[stage.is_full]), lambda _: stage.owner.launch())
    storm = asyncio.create_task(kill_now_and_then(stage))
    began = time.monotonic()
    try:
        calls = await call_all(stage, handles)
    finally:
        storm.cancel()
        kills = await asyncio.gather(storm, return_exceptions=True)
        if not isinstance(kills[0], asyncio.CancelledError):
            raise kills[0]
    took = time.monotonic() - began
    await come_back(stage)
    files = dict(zip(range(len(handles)), await each(handles, lambda handle: lines(stage, handle), 6)))
    judge(stage, verdicts, calls, files, took)


def judge(stage: Stage, verdicts: Verdicts, calls: list, files: dict, took: float):
    acknowledged = sum(outcome.is_acknowledged for _, outcome in calls)
    killed = ", ".join(f"{count} × {kind}" for kind, count in stage.kills.items())
    verdicts.held(
        "every acknowledged call has exactly one line, every other at most one",
        ledger.judge([(number, outcome.key, outcome.is_acknowledged) for number, outcome in calls], files),
        f"{acknowledged} of {len(calls)} acknowledged, {took:.0f} s, killed: {killed}, seed {stage.seed}",
    )
    troubles = [outcome.trouble for _, outcome in calls if not outcome.is_acknowledged]
    # Only what ran in a worker when it was killed may end without a word; two calls of an environment are under way.
    may_be_lost = stage.kills.get("worker", 0) * len(files)
    verdicts.held("only what ran in a killed worker is not acknowledged", troubles[may_be_lost:], f"{len(troubles)} of at most {may_be_lost}")
    verdicts.held("no environment is lost", [f"{number} is not answered for" for number, found in files.items() if found is None], f"{len(files)} environments")
    verdicts.held("every answer is JSON-RPC", stage.owner.invalid, f"{stage.owner.answers} answers")
    notices = sum(outcome.notices for _, outcome in calls)
    verdicts.measured("notices of a restarted interpreter, by kills of workers × environments", notices, may_be_lost, "notices")
    sent = sum(outcome.attempts for _, outcome in calls)
    verdicts.held("the storm was felt: calls were sent again", [] if sent > len(calls) else ["none was"], f"{sent - len(calls)} times")


async def call_all(stage: Stage, handles: list) -> list:
    """(environment, outcome) of every call: of each environment some run at once, shell and Python mixed."""
    numbers, began = iter(range(CALLS[stage.is_full])), time.monotonic()
    interval = CALLS_SECONDS[stage.is_full] / CALLS[stage.is_full]
    calls = []

    async def caller(environment: int):
        for number in numbers:
            await asyncio.sleep(began + number * interval - time.monotonic())
            key = f"chaos-{environment:02}-{number:05}"
            pause = 0 if number % 3 == 0 else round(stage.random.uniform(0.05, MOST_WORK_SECONDS), 3)
            tool, arguments = ledger.entry(key, number % 4 < 2, pause)
            outcome = await stage.owner.keyed(tool, {"environmentId": handles[environment], **arguments}, key)
            calls.append((environment, outcome))

    await asyncio.gather(*(caller(environment) for environment in range(len(handles)) for _ in range(AT_ONCE)))
    return calls


async def kill_now_and_then(stage: Stage):
    """Until it is cancelled. Of one kind never more than one is away: a majority is always there."""
    away, choices = {}, random.Random(stage.seed)
    stage.kills = {}
    try:
        while True:
            await asyncio.sleep(KILL_EVERY)
            for kind in [kind for kind, back in away.items() if back.done()]:
                away.pop(kind).result()
            there = [kind for kind in KINDS if kind not in away]
            if not there:
                continue
            # Those kinds first that were killed least: a short storm meets each.
            choices.shuffle(there)
            kind = min(there, key=lambda it: stage.kills.get(it, 0))
            victim = choices.choice(stage.kind(kind))
            print(f"   {time.strftime('%H:%M:%S')} kill -9 {victim.name}", flush=True)
            stage.kill(victim)
            stage.kills[kind] = stage.kills.get(kind, 0) + 1
            away[kind] = asyncio.create_task(return_later(stage, victim, choices.uniform(*AWAY_SECONDS)))
    finally:
        for back in away.values():
            back.cancel()


async def return_later(stage: Stage, victim, seconds: float):
    await asyncio.sleep(seconds)
    if victim.name.startswith(("gateway", "worker")):
        await stage.back(victim)
    else:
        victim.restart()
        await until(lambda: done(accepts(victim.port)), f"{victim.name} accepts connections again")


async def come_back(stage: Stage):
    """Everything runs again, and every gateway gives environments."""
    for process in stage.processes:
        if process.child.poll() is not None:
            process.restart()
            process.drains = process.name.startswith(("gateway", "worker"))
    for gateway in stage.gateways:
        await until(lambda: gives(stage, gateway), f"{gateway} gives environments again", SETTLE_SECONDS)


async def gives(stage: Stage, gateway: str) -> bool:
    try:
        reply = await stage.owner.once("launchShell", {}, gateway)
    except (NotSent, Broken):
        return False
    if reply.is_ok:
        await stage.owner.once("closeEnvironment", {"environmentId": reply.data["environmentId"]}, gateway)
    return reply.is_ok


async def lines(stage: Stage, handle: str):
    reply = await stage.owner.keyless(SHELL, {"environmentId": handle, "shellCommand": f"touch {ledger.FILE}; cat {ledger.FILE}"})
    return reply.stdout.splitlines() if reply.is_ok else None
