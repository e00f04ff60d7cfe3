"""Served against offered: a ramp that rises evenly, cut into steps."""

from series import KINDS, SERVED, quantile

STEPS = 20
# What of an offered load counts as all of it, while the ramp rises within each step.
NEARLY_ALL = 0.95


def steps(samples: list, most: float, seconds: float) -> list:
    """One record for each step: what was offered a second, and what became of it. `samples` are of one kind of call."""
    began = min((it.at for it in samples), default=0)
    length = seconds / STEPS
    cut = [[] for _ in range(STEPS)]
    for it in samples:
        if (number := int((it.at - began) / length)) < STEPS:
            cut[number].append(it)
    return [step(within, most * (number + 0.5) / STEPS, length) for number, within in enumerate(cut)]


def step(samples: list, offered: float, length: float) -> dict:
    times = [it.value for it in samples if it.name == SERVED]
    rates = {kind: sum(it.name == kind for it in samples) / length for kind in KINDS}
    return {"offered": offered, **rates, "p50": quantile(times, 0.5), "p99": quantile(times, 0.99)}


def knee(curve: list):
    """The last step of those from the first on in which nearly all that was offered was served."""
    bend = None
    for it in curve:
        if it["done"] < NEARLY_ALL * it["offered"]:
            break
        bend = it
    return bend


def described(knee: dict) -> str:
    return f"served as fast as it comes up to {knee['offered']:.0f}/s (p50 {knee['p50']:.1f} ms, p99 {knee['p99']:.1f} ms there)"
