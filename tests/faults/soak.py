"""Hours of what callers do, and nothing of it stays: no memory, no descriptor, no task, no process, no key, no file."""

import asyncio
import time

from caller import PYTHON, SHELL
from exchange import Broken, NotSent
from resp import Redis
from samples import Samples
from stage import Stage, each, until
from verdicts import Verdicts

MINUTES = {False: 3, True: 60}
# What is allocated once, pools and caches, is there by then.
WARM_SECONDS = {False: 30, True: 600}
SAMPLE_EVERY = 5
CHURNS = 6
PAUSE = 0.05
# Of tenants' whole environments so many live at once; sandboxes come and go.
CALLS_EACH = 12
KB_PER_HOUR = 1024
# Nothing of theirs is kept longer: an environment's tombstone is, on purpose, for 24 h.
SETTLE_SECONDS = 60
CUT_OFF, TOLD = "cut off by their time", "told of a restart"
SOME = {"KB": None, "descriptors": 8, "tasks": 8, "processes": 2}


async def run(stage: Stage, verdicts: Verdicts):
    """Environments are made, used in every way and closed, for as long as it takes to see what is never given back."""
    url = stage.one_redis()
    stage.start(2, 2, url, worker_flags=["--warm-pool", "2"])
    samples = Samples(stage, Redis.of(url).server)
    seconds, warm = MINUTES[stage.is_full] * 60, WARM_SECONDS[stage.is_full]
    # Once through everything, so that the start has what every later moment has.
    wrong, counts = [], {}
    await each(range(CHURNS), lambda number: churn(stage, number, wrong, counts))
    await settle(stage, samples)
    start, began = samples.rows[-1], time.monotonic()
    samples.rows.clear()
    until_then = began + seconds
    loops = [asyncio.create_task(again(stage, number, until_then, wrong, counts)) for number in range(CHURNS)]
    while time.monotonic() < until_then:
        await samples.take(time.monotonic() - began)
        await asyncio.sleep(SAMPLE_EVERY)
    await asyncio.gather(*loops)
    await settle(stage, samples)
    samples.save(stage.folder / "logs" / "samples.csv")
    judge(stage, verdicts, samples, start, warm, wrong, counts)


def judge(stage: Stage, verdicts: Verdicts, samples: Samples, start: dict, warm: float, wrong: list, counts: dict):
    said = ", ".join(f"{count} {what}" for what, count in sorted(counts.items()))
    verdicts.held("every call has the answer it should have", wrong, said)
    verdicts.measured("an interpreter is restarted only for a call that was cut off", counts.get(TOLD, 0), counts.get(CUT_OFF, 0), "restarts told")
    end = samples.rows[-1]
    samples.rows.pop()
    if stage.is_full:
        for column in samples.columns(" KB"):
            slope = samples.slope(column, warm)
            verdicts.measured(f"{column.removesuffix(' KB')} grows at most 1 MB an hour after ten minutes", slope, KB_PER_HOUR, "KB/h")
    for kind in ("descriptors", "tasks", "processes"):
        over = [f"{column}: {start[column]} before, {end[column]} after" for column in samples.columns(f" {kind}") if end[column] > start[column] + SOME[kind]]
        verdicts.held(f"{kind} are back to what they were", over, ", ".join(str(end[column]) for column in samples.columns(f" {kind}")))
    zombies = [f"{column}: {row[column]}" for row in samples.rows[-1:] + [end] for column in samples.columns(" zombies") if row[column]]
    verdicts.held("there are no zombies", zombies)
    grown = [] if end["redis keys"] <= start["redis keys"] + 4 else [f"{start['redis keys']} before, {end['redis keys']} after"]
    verdicts.held("Redis has as few keys as before", grown, f"{end['redis keys']} keys")
    # Of each closed environment one small file tells for 24 h what became of it.
    left = end["worker files"] - start["worker files"] - counts.get("environments", 0)
    verdicts.held("workers keep nothing of a closed environment but its tombstone", [f"{left} files more"] if left > 4 else [], f"{end['worker files']} files")
    memory = ", ".join(f"{column} {start[column]} → {end[column]}" for column in samples.columns(" KB"))
    print(f"   {memory}", flush=True)


async def settle(stage: Stage, samples: Samples):
    """Until nothing is under way any more and what is removed in the background is gone."""
    last = {}

    async def still() -> bool:
        nonlocal last
        row = {name: value for name, value in (await samples.take(0)).items() if not name.endswith("KB")}
        same, last = row == last, row
        await asyncio.sleep(2)
        return same

    await until(still, "the deployment comes to rest", SETTLE_SECONDS)


async def again(stage: Stage, number: int, until_then: float, wrong: list, counts: dict):
    while time.monotonic() < until_then:
        await churn(stage, number, wrong, counts)


async def churn(stage: Stage, number: int, wrong: list, counts: dict):
    """One environment's life: Python, shell, failures, output, keyed calls, a caller that leaves, the end."""
    owner = stage.owner
    handle = await owner.launch()
    count(counts, "environments")
    for turn in range(CALLS_EACH):
        tool, work, fits = WORK[(number + turn) % len(WORK)]
        arguments = {"environmentId": handle, **work}
        if turn % 4 == 3:
            outcome = await owner.keyed(tool, arguments, f"soak-{number}-{time.monotonic_ns()}")
            reply = outcome.reply
            count(counts, "keyed calls")
        else:
            reply = await owner.keyless(tool, arguments)
            count(counts, "calls")
        if reply is not None and fits(reply):
            count(counts, CUT_OFF, "timeoutSeconds" in work)
        # Python that is cut off and does not yield loses its interpreter, which the next is told instead of being run.
        elif reply is not None and reply.has_not_run and reply.notice:
            count(counts, TOLD)
        else:
            wrong.append(f"{work}: {reply}")
        await asyncio.sleep(PAUSE)
    leaving = asyncio.create_task(owner.once(SHELL, {"environmentId": handle, "shellCommand": "sleep 30"}))
    await asyncio.sleep(0.3)
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    count(counts, "callers that left")
    try:
        closed = await owner.once("closeEnvironment", {"environmentId": handle})
    except (NotSent, Broken) as trouble:
        closed = None
        wrong.append(trouble)
    if closed is not None and not closed.is_ok:
        wrong.append(closed)


def count(counts: dict, what: str, more: int = 1):
    counts[what] = counts.get(what, 0) + more


def says(text: str):
    return lambda reply: reply.is_ok and reply.stdout == text


def fails(reply) -> bool:
    return reply.result.get("isError") is True and reply.data.get("executed") != "no"


WORK = [
    (PYTHON, {"pythonCode": "print(sum(range(1000)))"}, says("499500\n")),
    (SHELL, {"shellCommand": "echo one; echo two >&2"}, says("one\n")),
    (PYTHON, {"pythonCode": "raise ValueError('on purpose')"}, fails),
    (SHELL, {"shellCommand": "head -c 300000 /dev/zero | tr '\\0' x"}, lambda reply: "result" in reply.message),
    (PYTHON, {"pythonCode": "open('f', 'w').write('x' * 100_000); print('kept')"}, says("kept\n")),
    (SHELL, {"shellCommand": "(sleep 0.1 &) ; sleep 0.05; exit 3"}, lambda reply: "result" in reply.message),
    (PYTHON, {"pythonCode": "import time; time.sleep(5)", "timeoutSeconds": 1}, fails),
]
