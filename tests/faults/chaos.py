"""Processes of every kind die at any moment, and callers are told the truth all the same."""

import asyncio
import random
import time

import ledger
from caller import shell
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
    storm = Storm(stage)
    raging = asyncio.create_task(storm.rage())
    began = time.monotonic()
    try:
        calls = await call_all(stage, handles)
    finally:
        raging.cancel()
        (end,) = await asyncio.gather(raging, return_exceptions=True)
        if not isinstance(end, asyncio.CancelledError):
            raise end
    took = time.monotonic() - began
    await storm.come_back()
    files = dict(zip(range(len(handles)), await each(handles, lambda handle: lines(stage, handle), 6)))
    storm.look()
    judge(stage, verdicts, storm, calls, files, took)


def judge(stage: Stage, verdicts: Verdicts, storm: "Storm", calls: list, files: dict, took: float):
    acknowledged = sum(outcome.is_acknowledged for _, outcome in calls)
    killed = ", ".join(f"{count} × {kind}" for kind, count in storm.kills.items())
    verdicts.held(
        "every acknowledged call has exactly one line, every other at most one",
        ledger.judge([(number, outcome.key, outcome.is_acknowledged) for number, outcome in calls], files),
        f"{acknowledged} of {len(calls)} acknowledged, {took:.0f} s, killed: {killed}, seed {stage.seed}",
    )
    open_ends = [outcome for _, outcome in calls if not outcome.is_acknowledged]
    # One call at a time runs in an environment: so many may have met the end of their worker.
    may_be_interrupted = storm.kills.get("worker", 0) * len(files)
    wrong = [outcome.trouble for outcome in open_ends if not outcome.is_interrupted]
    verdicts.held(
        "every other one was interrupted with its worker, and says so",
        wrong + [outcome.key for outcome in open_ends[may_be_interrupted:]],
        f"{len(open_ends)} of at most {may_be_interrupted}",
    )
    ended = [f"{name} ended with {code}" for name, code in storm.ended.items()]
    verdicts.held("no process ends but those that are killed", ended, f"{sum(storm.kills.values())} kills")
    lost = [f"{number} is not answered for" for number, found in files.items() if found is None]
    verdicts.held("no environment is lost", lost, f"{len(files)} environments")
    verdicts.held("every answer is JSON-RPC", stage.owner.invalid, f"{stage.owner.answers} answers")
    notices = sum(outcome.notices for _, outcome in calls)
    verdicts.measured("Python not run but told of a restart, by kills × environments", notices, may_be_interrupted, "notices")
    sent = sum(outcome.attempts for _, outcome in calls)
    calm = [] if sent > len(calls) else ["none was"]
    verdicts.held("the storm was felt: calls were sent again", calm, f"{sent - len(calls)} times")


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
            outcome = await stage.owner.keyed(*ledger.entry(handles[environment], key, number % 4 < 2, pause), key)
            calls.append((environment, outcome))

    await asyncio.gather(*(caller(environment) for environment in range(len(handles)) for _ in range(AT_ONCE)))
    return calls


class Storm:
    """What is killed and what is away because of it; whatever else ends did so by itself."""

    def __init__(self, stage: Stage):
        self.stage, self.choices = stage, random.Random(stage.seed)
        self.kills, self.away, self.ended = {}, set(), {}

    async def rage(self):
        """Until it is cancelled. Of one kind never more than one is away: a majority is always there."""
        returning = {}
        try:
            while True:
                await asyncio.sleep(KILL_EVERY)
                for kind in [kind for kind, back in returning.items() if back.done()]:
                    returning.pop(kind).result()
                there = [kind for kind in KINDS if kind not in returning]
                if there and (victim := self.strike(there)):
                    returning[kind_of(victim)] = asyncio.create_task(self.return_later(victim))
        finally:
            for back in returning.values():
                back.cancel()

    def strike(self, kinds: list):
        """Kills one of those that live; None if none of the chosen kind does."""
        self.look()
        # Those kinds first that were killed least: a short storm meets each.
        self.choices.shuffle(kinds)
        kind = min(kinds, key=lambda it: self.kills.get(it, 0))
        living = [process for process in self.stage.kind(kind) if process.child.poll() is None]
        if not living:
            return None
        victim = self.choices.choice(living)
        print(f"   {time.strftime('%H:%M:%S')} kill -9 {victim.name}", flush=True)
        self.stage.kill(victim)
        self.away.add(victim.name)
        self.kills[kind] = self.kills.get(kind, 0) + 1
        return victim

    def look(self):
        """Notes who has ended without being killed, before anything is started again and hides it."""
        dead = {process.name: process.child.poll() for process in self.stage.processes}
        self.ended.update(by_themselves(dead, self.away))

    async def return_later(self, victim):
        await asyncio.sleep(self.choices.uniform(*AWAY_SECONDS))
        self.away.discard(victim.name)
        if victim.name.startswith(("gateway", "worker")):
            await self.stage.back(victim)
        else:
            victim.restart()
            await until(lambda: done(accepts(victim.port)), f"{victim.name} accepts connections again")

    async def come_back(self):
        """Everything runs again, and every gateway gives environments."""
        self.look()
        for process in self.stage.processes:
            if process.child.poll() is not None:
                process.restart()
                process.drains = process.name.startswith(("gateway", "worker"))
        self.away.clear()
        for gateway in self.stage.gateways:
            await until(lambda: gives(self.stage, gateway), f"{gateway} gives environments again", SETTLE_SECONDS)


def kind_of(process) -> str:
    return process.name.split("-")[0]


def by_themselves(codes: dict, away: set) -> dict:
    """Of processes and what they ended with (None: they run), those that the storm had not killed or had brought back."""
    return {name: code for name, code in codes.items() if code is not None and name not in away}


def plants() -> dict:
    """Whether a process that nobody killed is seen to have ended."""
    return {
        "those that run are let be": not by_themselves({"gateway-1": None, "redis-1": None}, set()),
        "one that is away is ours": not by_themselves({"gateway-1": -9, "redis-1": None}, {"gateway-1"}),
        "one that ended beside it is not": by_themselves({"gateway-1": -9, "worker-1": 101}, {"gateway-1"}) == {"worker-1": 101},
        "one that ended after it was back is not": by_themselves({"gateway-1": 0}, set()) == {"gateway-1": 0},
    }


async def gives(stage: Stage, gateway: str) -> bool:
    try:
        reply = await stage.owner.once("launchShell", {}, gateway)
    except (NotSent, Broken):
        return False
    if reply.is_ok:
        await stage.owner.once("closeEnvironment", {"environmentId": reply.data["environmentId"]}, gateway)
    return reply.is_ok


async def lines(stage: Stage, handle: str):
    reply = await stage.owner.keyless(*shell(handle, f"touch {ledger.FILE}; cat {ledger.FILE}"))
    return reply.stdout.splitlines() if reply.is_ok else None
