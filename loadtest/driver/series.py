"""k6's samples, second by second: what was served how fast, and what became of the rest."""

import csv
import gzip
import sys
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

COUNTED = {
    "mcp_done": "done", "mcp_notices": "notices", "mcp_refused": "refused", "mcp_failed": "failed", "mcp_unknown": "unknown",
}
KINDS = tuple(COUNTED.values())
SERVED = "mcp_served"


class Sample(NamedTuple):
    """One sample of ours: when (seconds after the load began), of which calls, by which replica."""

    at: float
    name: str
    value: float
    of: str
    replica: str


def read(path: Path, began: float) -> list:
    """Samples of calls, in the order of time. k6 writes all there is; most of it is about connections."""
    with gzip.open(path, "rt", newline="") as file:
        rows = csv.DictReader(file)
        wanted = (row for row in rows if row["metric_name"] in COUNTED or row["metric_name"] == SERVED)
        return sorted(it for row in wanted if (it := sample(row, began)).at >= 0)


def sample(row: dict, began: float) -> Sample:
    tags = dict(pair.split("=", 1) for pair in row["extra_tags"].split("&") if pair)
    # There are hundreds of thousands of samples, and a handful of names.
    name, of, replica = (sys.intern(it) for it in (COUNTED.get(row["metric_name"], SERVED), tags["of"], tags.get("replica", "")))
    return Sample(int(row["timestamp"]) / 1000 - began, name, float(row["metric_value"]), of, replica)


def by_second(samples: list, seconds: int) -> list:
    """One record for each second of the load: counts by kind, and quantiles of the time to an answer."""
    counts, times = defaultdict(lambda: defaultdict(int)), defaultdict(list)
    for it in samples:
        if it.name == SERVED:
            times[int(it.at)].append(it.value)
        else:
            counts[int(it.at)][it.name] += 1
    return [
        {"second": second, **{kind: counts[second][kind] for kind in KINDS},
         "p50": quantile(times[second], 0.5), "p99": quantile(times[second], 0.99)}
        for second in range(seconds)
    ]


def quantile(values: list, share: float):
    return round(sorted(values)[min(int(share * len(values)), len(values) - 1)], 3) if values else None
