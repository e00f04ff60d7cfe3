"""Three loads on a deployment whose directory is harmed: those who call what they have, those who want more, and thieves."""

import asyncio
import time

from caller import PYTHON, SHELL, Caller
from exchange import Broken, NotSent
from processes import Trouble
from resp import Redis
from stage import Stage, each, environment_of, until
from verdicts import Verdicts

ENVIRONMENTS = 12
CALL_EVERY, CREATE_EVERY, STEAL_EVERY = 0.1, 0.2, 0.2
BACK_SECONDS, COMPLETE_SECONDS = 5, 10
DIRECTORY_AWAY = 50303
UNKNOWN = "You have no such environment"


class Witness:
    """What each load met, and when."""

    def __init__(self, stage: Stage, redis: Redis, gateways: list):
        self.stage, self.redis, self.gateways = stage, redis, gateways
        self.handles, self.thieves, self.tasks, self.is_over = [], [], [], False
        self.served, self.unserved, self.refused, self.granted = 0, [], 0, []
        self.created, self.wrong_refusals = {gateway: [] for gateway in gateways}, []

    async def prepare(self, retired: str):
        """Environments with a file and a variable, known to every gateway. `retired` was sealed by a key of the past."""
        self.handles = await each(range(ENVIRONMENTS), lambda _: self.stage.owner.launch())
        for number, handle in enumerate(self.handles):
            code = f"kept = 'kept-{number}'\nprint(kept, file=open('kept', 'w'))"
            reply = await self.stage.owner.keyless(PYTHON, {"environmentId": handle, "pythonCode": code})
            if not reply.is_ok:
                raise Trouble(f"an environment does not begin: {reply}")
        for gateway in self.gateways:
            await each(range(ENVIRONMENTS), lambda number: self.call(number, True, gateway))
        if self.unserved:
            raise Trouble(f"not served before anything was harmed: {self.unserved[0]}")
        good, owner, stranger = self.handles[0], self.stage.owner, self.stage.stranger
        forged = good[:-1] + ("A" if good[-1] != "A" else "B")
        nobody = Caller(self.gateways, "btk_not-a-key")
        self.thieves = [("a stranger", stranger, good), ("a forger", owner, forged), ("a retired key", owner, retired), ("nobody", nobody, good)]

    async def __aenter__(self):
        loops = [self.calls(number) for number in range(ENVIRONMENTS)]
        loops += [self.creations(gateway) for gateway in self.gateways] + [self.thefts()]
        self.tasks = [asyncio.create_task(loop) for loop in loops]
        return self

    async def __aexit__(self, *_):
        # Each finishes its call: one that is left would be one that is cancelled.
        self.is_over = True
        await asyncio.gather(*self.tasks)

    async def calls(self, number: int):
        turn = number
        while not self.is_over:
            await self.call(number, turn % 2 == 0, self.gateways[turn % len(self.gateways)])
            turn += 1
            await asyncio.sleep(CALL_EVERY)

    async def call(self, number: int, in_python: bool, gateway: str):
        """Sent once and without a key: nothing is there to make a failure good."""
        tool, work = (PYTHON, {"pythonCode": "print(kept)"}) if in_python else (SHELL, {"shellCommand": "cat kept"})
        try:
            reply = await self.stage.owner.once(tool, {"environmentId": self.handles[number], **work}, gateway)
        except (NotSent, Broken) as trouble:
            self.unserved.append(trouble)
            return
        if reply.is_ok and reply.stdout == f"kept-{number}\n":
            self.served += 1
        else:
            self.unserved.append(reply)

    async def creations(self, gateway: str):
        while not self.is_over:
            try:
                reply = await self.stage.owner.once("launchShell", {}, gateway)
            except (NotSent, Broken) as trouble:
                self.wrong_refusals.append(trouble)
            else:
                self.created[gateway].append((time.monotonic(), reply.is_ok))
                if reply.is_ok:
                    await self.stage.owner.once("closeEnvironment", {"environmentId": reply.data["environmentId"]}, gateway)
                elif not (reply.has_not_run and reply.pause):
                    self.wrong_refusals.append(reply)
            await asyncio.sleep(CREATE_EVERY)

    async def thefts(self):
        turn = 0
        while not self.is_over:
            for who, caller, handle in self.thieves:
                reply = await caller.once(SHELL, {"environmentId": handle, "shellCommand": "cat kept"}, self.gateways[turn % len(self.gateways)])
                is_refused = reply.status == 401 if who == "nobody" else UNKNOWN in str(reply) and reply.has_not_run
                if is_refused and not reply.stdout:
                    self.refused += 1
                else:
                    self.granted.append(f"{who}: {reply}")
            turn += 1
            await asyncio.sleep(STEAL_EVERY)

    async def is_complete(self) -> bool:
        """Whether the directory has every environment that was there before, with its worker."""
        noted, held = await self.redis.environments(), self.stage.records()
        mine = [environment_of(handle) for handle in self.handles]
        return all(it in held and noted.get(it) == held[it] for it in mine)

    def back_after(self, returned: float) -> float:
        """How long after its return the last gateway created again."""
        first = [min((at for at, is_ok in tries if is_ok and at >= returned), default=float("inf")) for tries in self.created.values()]
        return max(first) - returned


async def endure(stage: Stage, verdicts: Verdicts, redis: Redis, gateways: list, retired: str, harm):
    """Holds the promises while `harm` is done; it returns the moment from which Redis took writes again."""
    witness = Witness(stage, redis, gateways)
    await witness.prepare(retired)
    async with witness:
        await asyncio.sleep(2)
        returned = await harm(witness)
        await until(witness.is_complete, "the directory is complete again", 3 * COMPLETE_SECONDS)
        complete = time.monotonic() - returned
        await asyncio.sleep(max(0, returned + BACK_SECONDS + 1 - time.monotonic()))
    tries = [attempt for attempts in witness.created.values() for attempt in attempts]
    refusals = sum(not is_ok for _, is_ok in tries)
    late = [f"refused {at - returned:.1f} s after" for at, is_ok in tries if not is_ok and at > returned + BACK_SECONDS]
    verdicts.held("every call to an environment is served, none sent twice", witness.unserved, f"{witness.served} calls")
    verdicts.measured("creating is back after Redis", witness.back_after(returned), BACK_SECONDS)
    verdicts.held("and stays", late, f"{len(tries) - refusals} created, {refusals} refused meanwhile")
    verdicts.held("a refused creation began nothing and says when to come back", witness.wrong_refusals)
    verdicts.measured("the directory is complete after Redis", complete, COMPLETE_SECONDS)
    verdicts.held("nobody is let in", witness.granted, f"{witness.refused} refused")
    witness.unserved.clear()
    for number in range(ENVIRONMENTS):
        await witness.call(number, True, gateways[number % len(gateways)])
        await witness.call(number, False, gateways[number % len(gateways)])
    held = stage.records()
    killed = [handle[-6:] for handle in witness.handles if environment_of(handle) not in held]
    verdicts.held("no environment is killed: files and variables are kept", killed + witness.unserved, f"{ENVIRONMENTS} environments")
    verdicts.held("every answer is JSON-RPC", stage.owner.invalid + stage.stranger.invalid, f"{stage.owner.answers} answers")
