"""Two versions beside one another, as any rolling upgrade has them, and back again."""

from pathlib import Path

from caller import python, shell
from stage import Stage, each
from users import Users
from verdicts import Verdicts

ENVIRONMENTS = {False: 4, True: 16}


async def run(stage: Stage, verdicts: Verdicts):
    """Gateways and workers of an earlier version are exchanged one by one under calls, and one of each goes back."""
    new, stage.baton = stage.baton, stage.old_baton.resolve()
    stage.start(2, 2, stage.one_redis())
    stage.baton = new
    handles = await grow(stage, [])
    steps = [("gateway-1", new), ("worker-1", new), ("gateway-2", new), ("worker-2", new)]
    # Records that the new version wrote are read by the old one too.
    back = [("worker-1", stage.old_baton), ("gateway-1", stage.old_baton)]
    async with Users(stage, kept(handles)) as users:
        for name, baton in steps + back:
            which = "new" if baton is new else "old"
            users.begin(f"{name} {which}")
            await exchange_binary(stage, name, baton)
            wrong = [fault for number, handle in enumerate(handles) for fault in await check(stage, number, handle)]
            handles = await grow(stage, handles)
            users.kept = kept(handles)
            verdicts.held(f"with {name} {which}, every gateway serves every environment", wrong, f"{len(handles)} environments")
    users.judge(verdicts)
    unread = [worker.name for worker in stage.kind("worker") if "left on disk unread" in worker.err.read_text()]
    verdicts.held("each version reads what the other wrote", unread)
    verdicts.held("every answer is JSON-RPC", stage.owner.invalid, f"{stage.owner.answers} answers")


def kept(handles: list) -> dict:
    """What the file of each says."""
    return {handle: f"kept-{number}" for number, handle in enumerate(handles)}


async def exchange_binary(stage: Stage, name: str, baton: Path):
    process = stage.process(name)
    code = await stage.stopped(process)
    if code != 0:
        raise AssertionError(f"{name} ended with {code} on SIGTERM")
    process.command[0] = str(baton)
    await stage.back(process)


async def check(stage: Stage, number: int, handle: str) -> list:
    """Files are there through every gateway, and Python runs: at once, or after it was told of a restart."""
    wrong = []
    for gateway in stage.gateways:
        in_shell = await stage.owner.once(*shell(handle, "cat kept"), gateway)
        read = python(handle, "print(open('kept').read())")
        in_python = await stage.owner.once(*read, gateway)
        if in_python.notice:
            in_python = await stage.owner.once(*read, gateway)
        wrong += [it for it in (in_shell, in_python) if not it.is_ok or it.stdout.strip() != f"kept-{number}"]
    return wrong


async def grow(stage: Stage, handles: list) -> list:
    """As many environments more, from every gateway; a place in the fleet is found for each."""
    made = await each(range(ENVIRONMENTS[stage.is_full]), lambda _: stage.owner.launch())
    for number, handle in enumerate(made, len(handles)):
        reply = await stage.owner.keyless(*shell(handle, f"echo kept-{number} > kept"))
        if not reply.is_ok:
            raise AssertionError(f"a new environment does not begin: {reply}")
    return handles + made
