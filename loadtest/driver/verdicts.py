"""What the samples of a run have to show of the time around each fault: judged here, since k6 knows nothing of faults."""

import json
from collections import Counter

import curve
import plot

BACK_SECONDS = 5
JOIN_SECONDS = 10
WATCH_SECONDS = 5
MOST_UNEVEN = 0.8


def none(_results):
    """Its thresholds say all."""
    return []


def creating_is_back(results):
    """Within five seconds of the kill; and it was really away, or else nothing was tested."""
    kill = next(it["seconds"] for it in results.marks if it["kind"] == "fault")
    refused = [it.at - kill for it in results.samples if it.of == "create" and it.name == "refused" and it.at >= kill]
    yield bool(refused), f"{len(refused)} environments were refused while there was no master"
    last = max(refused, default=0)
    yield last <= BACK_SECONDS, f"the last of them {last:.1f} s after the kill (at most {BACK_SECONDS})"


def gateways_have_their_share(results):
    """Of the calls that began to be answered ten seconds after each joined."""
    joins = [it for it in results.marks if it["what"].startswith("gateway-")]
    for number, mark in enumerate(joins, 2):
        replica, since = mark["what"].split()[0], mark["seconds"] + JOIN_SECONDS - WATCH_SECONDS
        counts = Counter(it.replica for it in results.samples if it.name == "done" and since <= it.at < since + WATCH_SECONDS)
        share = counts[replica] / max(sum(counts.values()), 1)
        yield share >= MOST_UNEVEN / number, f"{replica} served {100 * share:.1f} % within {JOIN_SECONDS} s of joining, as one of {number}"


def knees(results):
    """Where the ramp of each kind of call bends; the curves go beside the other results."""
    half = int(results.settings["SECONDS"]) / 2
    for of, most in (("python", "RATE"), ("whoami", "WHOAMI_RATE")):
        steps = curve.steps([it for it in results.samples if it.of == of], float(results.settings[most]), half)
        knee = curve.knee(steps)
        (results.folder / f"curve-{of}.json").write_text(json.dumps(steps, indent=1))
        (results.folder / f"curve-{of}.svg").write_text(plot.over_load(f"{results.name}: {of}, served and offered", steps))
        yield knee is not None, f"{of}: " + (curve.described(knee) if knee else "not served as fast as it comes at any step")
