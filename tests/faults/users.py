"""Callers of environments who go on while a deployment is changed under them, step by step."""

import asyncio
from dataclasses import dataclass, field

from caller import shell
from exchange import Broken, Invalid, NotSent
from stage import Stage, done, until
from verdicts import Verdicts
from witness import UNKNOWN

LOOPS = 4
CALL_EVERY = 0.05
# Of two workers one is away for a part of its step, and half of the calls are for it.
MOST_PUT_OFF = 0.5


@dataclass
class Step:
    """What became of the calls that were made in it."""

    served: int = 0
    put_off: list = field(default_factory=list)
    unknown: list = field(default_factory=list)
    failed: list = field(default_factory=list)

    def take(self, reply, kept: str):
        if reply.is_ok and reply.stdout == kept + "\n":
            self.served += 1
        elif UNKNOWN in str(reply):
            self.unknown.append(reply)
        # A worker that restarts is away for a moment; then nothing was begun.
        elif reply.has_not_run and reply.pause:
            self.put_off.append(reply)
        else:
            self.failed.append(reply)


class Users:
    """They read the file `kept` of these environments, by handle, through the gateways that are ready."""

    def __init__(self, stage: Stage, kept: dict):
        self.stage, self.kept, self.is_over = stage, kept, False
        self.steps, self.loops = {}, []

    async def __aenter__(self):
        self.begin("before")
        self.loops = [asyncio.create_task(self.call(turn * CALL_EVERY / LOOPS)) for turn in range(LOOPS)]
        await until(lambda: done(self.step.served), "a call is served before anything changes")
        return self

    async def __aexit__(self, *_):
        self.is_over = True
        await asyncio.gather(*self.loops)

    def begin(self, step: str):
        """Calls from here on are made in this step."""
        self.step = self.steps.setdefault(step, Step())

    async def call(self, stagger: float):
        await asyncio.sleep(stagger)
        while not self.is_over:
            step, (handle, kept) = self.step, self.stage.random.choice(list(self.kept.items()))
            ready = [gateway for gateway in self.stage.gateways if gateway not in self.stage.leaving]
            try:
                step.take(await self.stage.owner.once(*shell(handle, "cat kept"), self.stage.random.choice(ready)), kept)
            except (NotSent, Broken, Invalid) as trouble:
                step.failed.append(trouble)
            await asyncio.sleep(CALL_EVERY)

    def judge(self, verdicts: Verdicts):
        served, put_off = sum(step.served for step in self.steps.values()), self.all("put_off")
        verdicts.held("no valid handle is refused", self.all("unknown"), f"{served} calls served")
        verdicts.held("and no call is lost or left without an answer", self.all("failed"))
        counts = ", ".join(f"{name} {step.served}" for name, step in self.steps.items())
        verdicts.held("in each step calls are served", idle(self.steps), counts)
        verdicts.held("in no step are more put off than a worker's absence explains", over(self.steps), f"{len(put_off)} in all")

    def all(self, what: str) -> list:
        return [f"{name}: {it}" for name, step in self.steps.items() for it in getattr(step, what)]


def idle(steps: dict) -> list:
    """Steps that nobody was served in: what is promised of them would hold of anything."""
    return [name for name, step in steps.items() if not step.served]


def over(steps: dict) -> list:
    """Steps that put off more calls than one absent worker explains."""
    return [
        f"{name}: {len(step.put_off)} beside {step.served} served: {step.put_off[0]}"
        for name, step in steps.items() if len(step.put_off) > MOST_PUT_OFF * (len(step.put_off) + step.served)
    ]


def plants() -> dict:
    """Steps in which little was served; a calm one and one with a worker away stand."""
    def found(judge, **step) -> bool:
        return bool(judge({"a step": Step(**step)}))

    return {
        "a calm step stands": not found(idle, served=9) and not found(over, served=9),
        "half put off stands": not found(over, served=9, put_off=["later"] * 9),
        "more than half put off is found": found(over, served=9, put_off=["later"] * 10),
        "nothing but refusals is found": found(idle, put_off=["later"]) and found(over, put_off=["later"]),
        "a step without calls is found": found(idle),
    }
