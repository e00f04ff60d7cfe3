"""The disk of a worker is full for a while: nothing runs that could not be written down first, and nothing breaks."""

import errno
import json
from pathlib import Path

import ledger
import spaces
from caller import python, shell
from stage import Stage, each, environment_of
from verdicts import Verdicts

ENVIRONMENTS = {False: 4, True: 12}
# Of each environment.
CALLS = 5
DISK_MEBIBYTES = 24
STEP = 1 << 16


async def run(stage: Stage, verdicts: Verdicts):
    """A worker's directory has no byte left."""
    disk = stage.folder / "worker-1"
    disk.mkdir(mode=0o700)
    spaces.mount_tmpfs(disk, DISK_MEBIBYTES)
    # A pool takes space of its own, and gives it back when it likes.
    stage.start(2, 1, stage.one_redis(), worker_flags=["--warm-pool", "0"])
    handles = await each(range(ENVIRONMENTS[stage.is_full]), lambda _: stage.owner.launch())
    for number, handle in enumerate(handles):
        code = f"kept = 'kept-{number}'\nprint(kept, file=open('kept', 'w'))"
        await stage.owner.keyless(*python(handle, code))
    earlier = [(number, f"before-{number}") for number in range(len(handles))]
    for number, key in earlier:
        await keyed(stage, handles[number], key)
    filler = disk / "filler"
    size = fill(filler)
    keys = [(number, f"full-{number}-{call}") for number in range(len(handles)) for call in range(CALLS)]
    refusals = [await keyed(stage, handles[number], key) for number, key in keys]
    wrong = [reply for reply in refusals if reply.is_ok or not reply.has_not_run or reply.stdout or reply.pause is None]
    verdicts.held("keyed calls are refused: nothing ran, come back", wrong, f"{len(refusals)} refused, {size >> 20} MiB taken")
    repeats = [await keyed(stage, handles[number], key) for number, key in earlier]
    verdicts.held("what was done before is still answered", [reply for reply in repeats if not reply.is_replayed])
    verdicts.held("environments answer reads", await unread(stage, handles), f"{2 * len(handles)} reads")
    reply = await stage.owner.once("launchShell", {})
    verdicts.held("creating is refused: nothing was begun, come back", [] if reply.has_not_run and reply.pause else [reply])
    filler.unlink()
    outcomes = [await stage.owner.keyed(*work(handles[number], key), key) for number, key in keys]
    wrong = [outcome.trouble for outcome in outcomes if not outcome.is_acknowledged]
    verdicts.held("with space again they run", wrong, f"{len(outcomes)} calls")
    await after_restart(stage, verdicts, disk, handles, earlier + keys)


async def after_restart(stage: Stage, verdicts: Verdicts, disk: Path, handles: list, keys: list):
    worker = stage.process("worker-1")
    stage.kill(worker)
    await stage.back(worker)
    again = [await stage.owner.keyed(*work(handles[number], key), key) for number, key in keys]
    wrong = [outcome.trouble for outcome in again if not (outcome.is_acknowledged and outcome.reply.is_replayed)]
    verdicts.held("after a restart each has its first answer", wrong, f"{len(again)} calls")
    read = await each(handles, lambda handle: stage.owner.keyless(*shell(handle, f"cat {ledger.FILE}")))
    files = {number: reply.stdout.splitlines() for number, reply in enumerate(read)}
    wrong = ledger.judge([(number, key, True) for number, key in keys], files)
    verdicts.held("every call has exactly one line", wrong, f"{len(keys)} calls")
    unreadable = [path for path in disk.glob("environments/*/record.json") if not is_json(path)]
    held = stage.records()
    lost = [number for number, handle in enumerate(handles) if environment_of(handle) not in held]
    unread = [worker.name] if "left on disk unread" in worker.err.read_text() else []
    verdicts.held("nothing is corrupt or lost", unreadable + lost + unread, f"{len(handles)} environments")
    verdicts.held("every answer is JSON-RPC", stage.owner.invalid, f"{stage.owner.answers} answers")


async def unread(stage: Stage, handles: list) -> list:
    wrong = []
    for number, handle in enumerate(handles):
        for read in (shell(handle, "cat kept"), python(handle, "print(kept)")):
            reply = await stage.owner.once(*read)
            wrong += [] if reply.is_ok and reply.stdout == f"kept-{number}\n" else [reply]
    return wrong


async def keyed(stage: Stage, handle: str, key: str):
    """Sent once: a refusal is the answer that is looked at here."""
    return await stage.owner.once(*work(handle, key), key=key)


def work(handle: str, key: str) -> tuple:
    # It also says that it ran: the file is on the disk that is full.
    return shell(handle, f"echo ran; echo {key} >> {ledger.FILE}")


def fill(path: Path) -> int:
    """Takes every byte that is left; returns how many they were."""
    size, step = 0, STEP
    with open(path, "wb", buffering=0) as file:
        while step:
            try:
                size += file.write(b"\0" * step)
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
                step //= 2
    return size


def is_json(path: Path) -> bool:
    try:
        return isinstance(json.loads(path.read_text()), dict)
    except ValueError:
        return False
