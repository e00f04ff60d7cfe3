"""A worker that comes back has what it had but for variables, and says so once."""

from caller import Reply, python, shell
from stage import Stage, each, environment_of, until
from verdicts import Verdicts

WORKERS = {False: 2, True: 3}
ENVIRONMENTS = {False: 8, True: 48}
# Calls reach a worker again when it has reported to their gateway.
HEARD_SECONDS = 10
WORKER_UNREACHABLE = 50302


async def run(stage: Stage, verdicts: Verdicts):
    """Each worker in turn is told to end, and then killed with -9."""
    stage.start(2, WORKERS[stage.is_full], stage.one_redis())
    handles = await each(range(ENVIRONMENTS[stage.is_full]), lambda _: stage.owner.launch())
    for number, handle in enumerate(handles):
        await define(stage, number, handle, f"print({number}, file=open('kept', 'w'))")
    places = stage.records()
    for worker in stage.kind("worker"):
        mine = {number for number, handle in enumerate(handles) if places[environment_of(handle)] == worker.name}
        for how in ("SIGTERM", "kill -9"):
            if how == "SIGTERM":
                code = await stage.stopped(worker)
                verdicts.held(f"{worker.name} ends with 0 on SIGTERM", [] if code == 0 else [code])
            else:
                stage.kill(worker)
            await stage.back(worker)
            wrong = []
            for number, handle in enumerate(handles):
                check = check_interrupted if number in mine else check_untouched
                wrong += [f"environment {number}: {fault}" for fault in await check(stage, number, handle)]
            figures = f"{len(mine)} of its own, {len(handles) - len(mine)} of others"
            verdicts.held(f"{worker.name} after {how}: files kept, told once, others untouched", wrong, figures)
    verdicts.held("no environment is lost", [it for it in places if it not in stage.records()], f"{len(places)} environments")
    verdicts.held("every answer is JSON-RPC", stage.owner.invalid, f"{stage.owner.answers} answers")


async def check_interrupted(stage: Stage, number: int, handle: str):
    """One Python call is told and not run; shell calls run, and carry the notice until then. The variable is set anew."""
    wrong, gateways = [], stage.gateways
    if number % 2:
        ran = await heard(stage, *shell(handle, "cat kept"), gateways[0])
        if ran.notice is None or ran.stdout != f"{number}\n":
            wrong.append(f"the shell call should have run and told of the restart: {ran}")
    told = await heard(stage, *python(handle, "print(kept)"), gateways[0])
    if told.notice is None or told.is_ok or not told.has_not_run or told.stdout:
        wrong.append(f"the Python call should have been told instead of run: {told}")
    look = python(handle, "print('kept' in globals(), open('kept').read())")
    after = await stage.owner.once(*look, gateways[1])
    if after.notice is not None or after.stdout.split() != ["False", str(number)]:
        wrong.append(f"files and no variables are expected, and no second notice: {after} {after.stdout!r}")
    await define(stage, number, handle)
    return wrong


async def check_untouched(stage: Stage, number: int, handle: str):
    look = python(handle, "print(kept, open('kept').read())")
    reply = await stage.owner.once(*look, stage.gateways[number % 2])
    as_it_was = reply.is_ok and reply.notice is None and reply.stdout.split() == [str(number)] * 2
    return [] if as_it_was else [f"another worker's restart was felt: {reply} {reply.stdout!r}"]


async def heard(stage: Stage, tool: str, arguments: dict, gateway: str) -> Reply:
    """The first answer that is the worker's own."""
    reply = None

    async def is_reached() -> bool:
        nonlocal reply
        reply = await stage.owner.once(tool, arguments, gateway)
        return not (reply.code == WORKER_UNREACHABLE and reply.has_not_run)

    await until(is_reached, "the worker is reached again", HEARD_SECONDS)
    return reply


async def define(stage: Stage, number: int, handle: str, more: str = ""):
    reply = await stage.owner.keyless(*python(handle, f"kept = {number}\n{more}"))
    if not reply.is_ok:
        raise AssertionError(f"a variable is not set: {reply}")
