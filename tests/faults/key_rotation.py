"""Signing keys and worker roots are exchanged while calls run, as README says: added second, made first, retired."""

import asyncio
import base64
import hashlib
from pathlib import Path

from caller import shell
from cluster import write_secret
from exchange import Broken, NotSent
from processes import Process
from stage import Stage, each
from verdicts import Verdicts
from witness import UNKNOWN

GATEWAYS = {False: 2, True: 3}
ENVIRONMENTS = {False: 6, True: 24}
CALL_EVERY = 0.05
SIGNING, ROOT = "--signing-key-file", "--worker-root-key-file"
UNHEARD = "does not hear reports"


class Users:
    """Callers of these environments, through the gateways that are ready."""

    def __init__(self, stage: Stage, handles: list):
        self.stage, self.handles, self.is_over = stage, list(handles), False
        self.served, self.refused, self.failed = 0, [], []
        self.step = "before"

    async def call(self, turn: int, stagger: float):
        await asyncio.sleep(stagger)
        while not self.is_over:
            handle = self.handles[turn % len(self.handles)]
            ready = [gateway for gateway in self.stage.gateways if gateway not in self.stage.leaving]
            try:
                self.take(await self.stage.owner.once(*shell(handle, "cat kept"), ready[turn % len(ready)]))
            except (NotSent, Broken) as trouble:
                self.failed.append(f"{self.step}: {trouble}")
            turn += 1
            await asyncio.sleep(CALL_EVERY)

    def take(self, reply):
        if reply.is_ok and reply.stdout == "kept\n":
            self.served += 1
        elif UNKNOWN in str(reply):
            self.refused.append(f"{self.step}: {reply}")
        # A worker that restarts is away for a moment; then nothing was begun.
        elif not (reply.has_not_run and reply.pause):
            self.failed.append(f"{self.step}: {reply}")


async def run(stage: Stage, verdicts: Verdicts):
    """Each step goes through all replicas in turn, under load, before the next one begins."""
    stage.start(GATEWAYS[stage.is_full], 2, stage.one_redis(), ["--drain-seconds", "5"], ["--drain-seconds", "5"])
    old = {SIGNING: stage.folder / "signing.key", ROOT: stage.folder / "worker-root.key"}
    new = {SIGNING: new_signing_key(stage, old[SIGNING]), ROOT: new_key(stage, "worker-root")}
    before = await environments(stage)
    users = Users(stage, before)
    loops = [asyncio.create_task(users.call(turn, turn * CALL_EVERY / 4)) for turn in range(4)]
    await roll(stage, users, "added second", {flag: [old[flag], new[flag]] for flag in old})
    await roll(stage, users, "made first", {flag: [new[flag], old[flag]] for flag in old})
    users.step = "workers get new keys"
    for worker in stage.kind("worker"):
        key = stage.folder / f"{worker.name}-new.key"
        write_secret(key, stage.printed("key", "worker", "--root", new[ROOT], "--id", worker.name))
        await again(stage, worker, {"--worker-key-file": [key]})
    after = await environments(stage)
    users.handles += after
    await asyncio.sleep(2)
    with_both = users.served
    users.handles = after  # no handle that the old key sealed is valid from here on
    await asyncio.sleep(1)
    await roll(stage, users, "retired", {flag: [new[flag]] for flag in old})
    users.is_over = True
    await asyncio.gather(*loops)
    verdicts.held("no valid handle is refused", users.refused, f"{users.served} calls, {with_both} of them with both keys")
    verdicts.held("and no call is lost or left without an answer", users.failed)
    await judge_retired(stage, verdicts, before, after)
    await judge_old_root(stage, verdicts, old[ROOT])
    verdicts.held("every answer is JSON-RPC", stage.owner.invalid, f"{stage.owner.answers} answers")


async def judge_retired(stage: Stage, verdicts: Verdicts, before: list, after: list):
    let_in, refused, kept_out = [], 0, []
    for gateway in stage.gateways:
        for handle in before:
            reply = await stage.owner.once(*shell(handle, "cat kept"), gateway)
            if UNKNOWN in str(reply) and reply.has_not_run and not reply.stdout:
                refused += 1
            else:
                let_in.append(reply)
        for handle in after:
            reply = await stage.owner.once(*shell(handle, "cat kept"), gateway)
            kept_out += [] if reply.is_ok else [reply]
    verdicts.held("every handle of the retired key is refused, by every gateway", let_in, f"{refused} refused")
    verdicts.held("every handle of the new key is served, by every gateway", kept_out, f"{len(after) * len(stage.gateways)} calls")


async def judge_old_root(stage: Stage, verdicts: Verdicts, root: Path):
    key = stage.folder / "worker-old.key"
    write_secret(key, stage.printed("key", "worker", "--root", root, "--id", "worker-old"))
    reports = [word for url in stage.internal for word in ("--gateway", url)]
    worker = stage.run_baton("old-root", "worker", ["--worker-key-file", key, *reports])
    is_told = lambda: worker.err.read_text().count(UNHEARD) >= len(stage.gateways)  # noqa: E731
    told = worker.wait_for(is_told, "it is told that nobody hears it")
    verdicts.held("a worker with a key of the retired root is heard by no gateway", [] if told else ["it was heard"])


async def roll(stage: Stage, users: Users, step: str, flags: dict):
    for gateway in stage.kind("gateway"):
        users.step = f"{step} ({gateway.name})"
        await again(stage, gateway, flags)


async def again(stage: Stage, process: Process, flags: dict):
    """One process after another, as a rolling deployment does it: told to end, and back with other keys."""
    code = await stage.stopped(process)
    if code != 0:
        raise AssertionError(f"{process.name} ended with {code} on SIGTERM")
    for flag, files in flags.items():
        while flag in process.command:
            at = process.command.index(flag)
            del process.command[at : at + 2]
        for file in files:
            process.command += [flag, str(file)]
    await stage.back(process)


async def environments(stage: Stage) -> list:
    handles = await each(range(ENVIRONMENTS[stage.is_full]), lambda _: stage.owner.launch())
    await each(handles, lambda handle: stage.owner.keyless(*shell(handle, "echo kept > kept")))
    return handles


def new_key(stage: Stage, kind: str) -> Path:
    path = stage.folder / f"{kind}-new.key"
    write_secret(path, stage.printed("key", kind))
    return path


def new_signing_key(stage: Stage, old: Path) -> Path:
    """With another key id than the old one's: two of one id stop the start, and one in 256 has it."""
    while key_id(path := new_key(stage, "signing")) == key_id(old):
        path.unlink()
    return path


def key_id(path: Path) -> int:
    return hashlib.sha256(b"baton-kid" + base64.b64decode(path.read_text())).digest()[0]
