"""A gateway is lost, and what ran through it is not."""

import asyncio
import time

import ledger
from caller import SHELL
from stage import Stage, done, each, environment_of, until
from verdicts import Verdicts

CALLS = {False: 60, True: 200}
# Long enough that all calls have begun when the gateway dies.
WORK_SECONDS = {False: 4, True: 8}
MOST_EXTRA_SECONDS = 5


async def run(stage: Stage, verdicts: Verdicts):
    """One of two gateways is killed with -9 while keyed calls run: each of them is finished by the other, once."""
    stage.start(2, 2, stage.one_redis())
    dying, other = stage.kind("gateway")
    handles = await each(range(CALLS[stage.is_full]), lambda _: stage.owner.launch())
    # Their sandboxes stand before the clock runs.
    await each(handles, lambda handle: stage.owner.keyless(SHELL, {"environmentId": handle, "shellCommand": "true"}), 8)
    calls = [asyncio.create_task(begin(stage, number, handle)) for number, handle in enumerate(handles)]
    await all_begun(stage, handles)
    stage.kill(dying)
    killed = time.monotonic()
    outcomes = await asyncio.gather(*calls)
    took = time.monotonic() - killed
    files = dict(zip(range(len(handles)), await each(handles, lambda handle: lines(stage, handle))))
    moved = [outcome for number, outcome in enumerate(outcomes) if number % 2 == 0]
    stayed = [outcome for number, outcome in enumerate(outcomes) if number % 2 == 1]
    verdicts.held(
        "calls that ran when their gateway was killed are finished through the other",
        [outcome.trouble for outcome in outcomes if not outcome.is_acknowledged]
        + [f"{it.key} came from {it.replicas}" for it in moved if it.replicas[-1] != other.name]
        + [f"{it.key} was sent once only: it had not begun" for it in moved if it.attempts < 2],
        f"{len(moved)} moved, {len(stayed)} stayed, {took:.1f} s after the kill",
    )
    promised = [(number, outcome.key, outcome.is_acknowledged) for number, outcome in enumerate(outcomes)]
    verdicts.held("none of them ran twice or was lost", ledger.judge(promised, files), f"{len(outcomes)} calls")
    extra = max(it.seconds for it in moved) - max(it.seconds for it in stayed)
    verdicts.measured("what the kill cost them beside those that stayed", extra, MOST_EXTRA_SECONDS)
    verdicts.held("every answer is JSON-RPC", stage.owner.invalid, f"{stage.owner.answers} answers")


async def begin(stage: Stage, number: int, handle: str):
    key = f"kill-{number:04}"
    gateway = stage.gateways[number % 2]
    # The line is written before the work, so that a second run would be seen, and `started` says when to kill.
    command = f"echo {key} >> {ledger.FILE}; touch started; sleep {WORK_SECONDS[stage.is_full]}"
    return await stage.owner.keyed(SHELL, {"environmentId": handle, "shellCommand": command}, key, gateway)


async def all_begun(stage: Stage, handles: list):
    records = stage.records()
    marks = [
        stage.folder / records[environment_of(handle)] / "environments" / environment_of(handle) / "workspace/started"
        for handle in handles
    ]
    await until(lambda: done(all(mark.exists() for mark in marks)), "all calls run", 30)


async def lines(stage: Stage, handle: str) -> list:
    reply = await stage.owner.keyless(SHELL, {"environmentId": handle, "shellCommand": f"cat {ledger.FILE}"})
    return reply.stdout.splitlines() if reply.is_ok else None
