"""Three loads on a deployment whose directory is harmed: those who call what they have, those who want more, and thieves."""

import asyncio
import time

from caller import Caller, Reply, python, shell
from exchange import Broken, NotSent
from processes import Trouble
from resp import Redis
from stage import Stage, each, environment_of, until
from verdicts import Verdicts

ENVIRONMENTS = 12
# Of those created meanwhile.
KEPT = 300
CALL_EVERY, CREATE_EVERY, STEAL_EVERY = 0.1, 0.2, 0.2
BACK_SECONDS, COMPLETE_SECONDS = 5, 10
FAILOVER_SECONDS = 20
UNKNOWN = "You have no such environment"


class Witness:
    """What each load met, and when."""

    def __init__(self, stage: Stage, redis: Redis, gateways: list):
        self.stage, self.redis, self.gateways = stage, redis, gateways
        self.handles, self.thieves, self.tasks, self.is_over = [], [], [], False
        self.served, self.unserved, self.refused, self.granted = 0, [], 0, []
        self.returned, self.completion = None, None
        self.kept = []
        self.created, self.wrong_refusals = {gateway: [] for gateway in gateways}, []

    async def prepare(self, retired: str):
        """Environments with a file and a variable, known to every gateway. `retired` was sealed by a key of the past."""
        self.handles = await each(range(ENVIRONMENTS), lambda _: self.stage.owner.launch())
        for number, handle in enumerate(self.handles):
            code = f"kept = 'kept-{number}'\nprint(kept, file=open('kept', 'w'))"
            reply = await self.stage.owner.keyless(*python(handle, code))
            if not reply.is_ok:
                raise Trouble(f"an environment does not begin: {reply}")
        for gateway in self.gateways:
            await each(range(ENVIRONMENTS), lambda number: self.call(number, True, gateway))
        if self.unserved:
            raise Trouble(f"not served before anything was harmed: {self.unserved[0]}")
        good, owner, stranger = self.handles[0], self.stage.owner, self.stage.stranger
        forged = good[:-1] + ("A" if good[-1] != "A" else "B")
        nobody = Caller(self.gateways, "btk_not-a-key")
        self.thieves = [("a stranger", stranger, good), ("a forger", owner, forged)]
        self.thieves += [("a retired key", owner, retired), ("nobody", nobody, good)]

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
        handle = self.handles[number]
        read = python(handle, "print(kept)") if in_python else shell(handle, "cat kept")
        try:
            reply = await self.stage.owner.once(*read, gateway)
        except (NotSent, Broken) as trouble:
            self.unserved.append(trouble)
            return
        if is_served(reply, number):
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
                if reply.is_ok and len(self.kept) < KEPT:
                    # What a master wrote down before it was lost must be found again too.
                    self.kept.append(reply.data["environmentId"])
                elif reply.is_ok:
                    await self.stage.owner.once("closeEnvironment", {"environmentId": reply.data["environmentId"]}, gateway)
                elif not (reply.has_not_run and reply.pause):
                    self.wrong_refusals.append(reply)
            await asyncio.sleep(CREATE_EVERY)

    async def thefts(self):
        turn = 0
        while not self.is_over:
            for who, caller, handle in self.thieves:
                gateway = self.gateways[turn % len(self.gateways)]
                reply = await caller.once(*shell(handle, "cat kept"), gateway)
                if is_refused(reply, has_key=who != "nobody"):
                    self.refused += 1
                else:
                    self.granted.append(f"{who}: {reply}")
            turn += 1
            await asyncio.sleep(STEAL_EVERY)

    async def sees_redis_back(self, other_than=None):
        """Waits until Redis takes writes, at another master than this one; from here on the promises count."""
        await until(lambda: self.redis.takes_writes(other_than), "Redis takes writes", FAILOVER_SECONDS)
        self.returned = time.monotonic()
        self.completion = asyncio.create_task(until(self.is_complete, "the directory is complete again", 3 * COMPLETE_SECONDS))

    async def is_complete(self) -> bool:
        """Whether the directory has every environment, old or new, with its worker."""
        mine = [environment_of(handle) for handle in [*self.handles, *self.kept]]
        noted, held = await self.redis.environments(), self.stage.records()
        return all(it in held and noted.get(it) == held[it] for it in mine)

    def back_after(self) -> float:
        """How long after Redis the last gateway created again."""
        successes = ([at for at, is_ok in tries if is_ok and at >= self.returned] for tries in self.created.values())
        return max(min(at, default=float("inf")) for at in successes) - self.returned


def is_served(reply: Reply, number: int) -> bool:
    return reply.is_ok and reply.stdout == f"kept-{number}\n"


def is_refused(reply: Reply, has_key: bool) -> bool:
    """Nothing ran and nothing is shown; who is known hears that there is no such environment, whosever it is."""
    said_no = UNKNOWN in str(reply) and reply.has_not_run if has_key else reply.status == 401 and reply.error
    return bool(said_no) and not reply.stdout


def plants() -> dict:
    """Answers that a thief or an owner may get; only those that keep the promise may pass."""
    def tool(is_error: bool, text: str = "", **structured) -> Reply:
        result = {"isError": is_error, "content": [{"text": text}], "structuredContent": structured}
        return Reply(200, "gateway-1", {"result": result})

    unknown, output = tool(True, UNKNOWN, executed="no"), tool(False, stdout="kept-7\n")
    locked_out = Reply(401, "gateway-1", {"error": {"code": -32600, "message": "no key"}})
    return {
        "a handle that is refused passes": is_refused(unknown, True),
        "a caller without a key that is refused passes": is_refused(locked_out, False),
        "output shown to a thief is found": not is_refused(output, True),
        "a refusal that may have run is found": not is_refused(tool(True, UNKNOWN, executed="maybe"), True),
        "a refusal with output is found": not is_refused(tool(True, UNKNOWN, executed="no", stdout="x"), True),
        "another refusal is found": not is_refused(tool(True, "busy", executed="no"), True),
        "a caller without a key that is let in is found": not is_refused(unknown, False),
        "an owner that is served passes": is_served(output, 7),
        "another environment's output is found": not is_served(output, 8),
        "an owner that is refused is found": not is_served(unknown, 7),
        "an interpreter that lost its variables is found": not is_served(tool(True, "restarted", executed="no"), 7),
    }


async def endure(stage: Stage, verdicts: Verdicts, redis: Redis, gateways: list, retired: str, harm):
    """Holds the promises while `harm` is done, which says when Redis is back."""
    witness = Witness(stage, redis, gateways)
    await witness.prepare(retired)
    async with witness:
        await asyncio.sleep(2)
        await harm(witness)
        complete = await witness.completion
        await asyncio.sleep(max(0, witness.returned + BACK_SECONDS + 1 - time.monotonic()))
    lost = [] if await witness.is_complete() else ["some are not in it"]
    tries = [attempt for attempts in witness.created.values() for attempt in attempts]
    refusals = sum(not is_ok for _, is_ok in tries)
    after = [at - witness.returned for at, is_ok in tries if not is_ok]
    late = [f"refused {seconds:.1f} s after" for seconds in after if seconds > BACK_SECONDS]
    verdicts.held("every call to an environment is served, none sent twice", witness.unserved, f"{witness.served} calls")
    verdicts.measured("creating is back after Redis", witness.back_after(), BACK_SECONDS)
    verdicts.held("and stays", late, f"{len(tries) - refusals} created, {refusals} refused meanwhile")
    verdicts.held("a refused creation began nothing and says when to come back", witness.wrong_refusals)
    verdicts.measured("the directory is complete after Redis", complete, COMPLETE_SECONDS)
    verdicts.held("and has what was created meanwhile", lost, f"{len(witness.kept)} environments")
    verdicts.held("nobody is let in", witness.granted, f"{witness.refused} refused")
    witness.unserved.clear()
    for number in range(ENVIRONMENTS):
        await witness.call(number, True, gateways[number % len(gateways)])
        await witness.call(number, False, gateways[number % len(gateways)])
    held = stage.records()
    every = [environment_of(handle) for handle in witness.handles + witness.kept]
    killed = [f"{environment[:8]} is gone" for environment in every if environment not in held]
    verdicts.held("no environment is killed: files and variables are kept", killed + witness.unserved, f"{len(every)} environments")
    verdicts.held("every answer is JSON-RPC", stage.owner.invalid + stage.stranger.invalid, f"{stage.owner.answers} answers")
