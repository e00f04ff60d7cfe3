"""Signing keys and worker roots are exchanged while calls run, as README says: added second, made first, retired."""

import asyncio
import base64
import hashlib
import re
from pathlib import Path

from caller import shell
from cluster import write_secret
from processes import Process, Trouble
from stage import Stage, each
from users import Users
from verdicts import Verdicts
from witness import UNKNOWN

GATEWAYS = {False: 2, True: 3}
ENVIRONMENTS = {False: 6, True: 24}
SIGNING, ROOT = "--signing-key-file", "--worker-root-key-file"
UNHEARD, FOREIGN = "does not hear reports", "key made from that gateway's root?"


async def run(stage: Stage, verdicts: Verdicts):
    """Each step goes through all replicas in turn, under load, before the next one begins."""
    stage.start(GATEWAYS[stage.is_full], 2, stage.one_redis(), ["--drain-seconds", "5"], ["--drain-seconds", "5"])
    old = {SIGNING: stage.folder / "signing.key", ROOT: stage.folder / "worker-root.key"}
    new = {SIGNING: new_signing_key(stage, old[SIGNING]), ROOT: new_key(stage, "worker-root")}
    before = await environments(stage)
    async with Users(stage, dict.fromkeys(before, "kept")) as users:
        await roll(stage, users, "added second", {flag: [old[flag], new[flag]] for flag in old})
        await roll(stage, users, "made first", {flag: [new[flag], old[flag]] for flag in old})
        for worker in stage.kind("worker"):
            users.begin(f"new key ({worker.name})")
            key = stage.folder / f"{worker.name}-new.key"
            write_secret(key, stage.printed("key", "worker", "--root", new[ROOT], "--id", worker.name))
            await again(stage, worker, {"--worker-key-file": [key]})
        after = await environments(stage)
        users.begin("with both keys")
        users.kept = dict.fromkeys(before + after, "kept")
        await asyncio.sleep(2)
        users.kept = dict.fromkeys(after, "kept")  # no handle that the old key sealed is valid from here on
        await asyncio.sleep(1)
        await roll(stage, users, "retired", {flag: [new[flag]] for flag in old})
    users.judge(verdicts)
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
    hearing = lambda: [url for url in stage.internal if not tells(worker, url)]  # noqa: E731
    try:
        worker.wait_for(lambda: not hearing(), "every gateway has told it that it does not hear it")
    except Trouble:
        pass  # who has not is named below
    heard = [f"{url} did not refuse it" for url in hearing()]
    verdicts.held("a worker with a key of the retired root is heard by no gateway", heard, f"{len(stage.internal)} gateways")


def tells(worker: Process, gateway: str) -> bool:
    """Whether the worker has logged that this gateway does not take its reports, and why."""
    named = re.compile(re.escape(gateway) + r"(?!\d)")
    return any(UNHEARD in line and FOREIGN in line and named.search(line) for line in worker.err.read_text().splitlines())


async def roll(stage: Stage, users: Users, step: str, flags: dict):
    for gateway in stage.kind("gateway"):
        users.begin(f"{step} ({gateway.name})")
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
