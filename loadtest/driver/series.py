"""k6's samples, second by second: what was served how fast, and what became of the rest."""

import csv
import gzip
from collections import defaultdict
from pathlib import Path
from urllib.parse import parse_qs

COUNTED = {
    "mcp_done": "done", "mcp_notices": "notices", "mcp_refused": "refused", "mcp_failed": "failed", "mcp_unknown": "unknown",
}
KINDS = tuple(COUNTED.values())
SERVED = "mcp_served"


class Sample:
    """One sample of ours: when (seconds after the load began), of which calls, and its tags."""

    __slots__ = ("at", "name", "value", "of", "tags")

    def __init__(self, at, name, value, tags):
        self.at, self.name, self.value, self.tags, self.of = at, name, value, tags, tags.get("of", "")


def read(path: Path, began: float) -> list:
    """Samples of calls, in the order of time. k6 writes all there is; most of it is about connections."""
    if not path.exists():
        return []
    with gzip.open(path, "rt", newline="") as file:
        rows = csv.DictReader(file)
        wanted = (row for row in rows if row["metric_name"] in COUNTED or row["metric_name"] == SERVED)
        samples = [sample(row, began) for row in wanted]
    return sorted((it for it in samples if it.at >= 0), key=lambda it: it.at)


def sample(row: dict, began: float) -> Sample:
    tags = {name: values[0] for name, values in parse_qs(row["extra_tags"] or "").items()}
    at = int(row["timestamp"]) / 1000 - began
    return Sample(at, COUNTED.get(row["metric_name"], SERVED), float(row["metric_value"]), {**tags, "scenario": row["scenario"]})


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
