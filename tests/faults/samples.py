"""What processes hold: memory, descriptors, tasks, children; what Redis and disks hold. One row each few seconds."""

import asyncio
import csv
import os
import re
import statistics
from pathlib import Path

from exchange import exchange
from resp import asked

PAGE = os.sysconf("SC_PAGE_SIZE")
TASKS = re.compile(r"^baton_tasks (\d+)$", re.MULTILINE)
SCRAPE_SECONDS = 5


class Samples:
    """Rows of one deployment, oldest first; the same columns in each."""

    def __init__(self, stage, redis: tuple):
        self.stage, self.redis, self.rows = stage, redis, []

    async def take(self, seconds: float) -> dict:
        row = {"seconds": round(seconds, 1)}
        children = tree()
        for process in [*self.stage.kind("gateway"), *self.stage.kind("worker")]:
            name, pid = process.name, process.child.pid
            row[f"{name} KB"] = resident(pid) // 1024
            row[f"{name} descriptors"] = len(os.listdir(f"/proc/{pid}/fd"))
            row[f"{name} tasks"] = await self.tasks(process)
            below = descendants(pid, children)
            row[f"{name} processes"] = len(below)
            row[f"{name} zombies"] = sum(state(it) == "Z" for it in below)
        row["redis keys"] = await asked(self.redis, "DBSIZE")
        row["worker files"] = sum(count_files(self.stage.folder / worker.name) for worker in self.stage.kind("worker"))
        self.rows.append(row)
        return row

    async def tasks(self, process) -> int:
        url = process.listening(f"{process.name.split('-')[0]}-internal") + "/metrics"
        answer = await exchange("GET", url, {}, b"", SCRAPE_SECONDS)
        return int(TASKS.search(answer.body.decode())[1])

    def columns(self, ending: str) -> list:
        return [name for name in self.rows[0] if name.endswith(ending)]

    def slope(self, column: str, after: float) -> float:
        """How much a column grows in an hour, by Theil and Sen: no single row decides."""
        points = [(row["seconds"], row[column]) for row in self.rows if row["seconds"] >= after]
        steps = max(1, len(points) // 200)
        points = points[::steps]
        slopes = [(b - a) / (later - at) for n, (at, a) in enumerate(points) for later, b in points[n + 1:]]
        return statistics.median(slopes) * 3600 if slopes else 0.0

    def save(self, path: Path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "w", newline="") as file:
            table = csv.DictWriter(file, self.rows[0])
            table.writeheader()
            table.writerows(self.rows)


def resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE


def state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def tree() -> dict:
    """Parent → children, of all processes."""
    children = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                parent = int(Path(f"/proc/{entry}/stat").read_text().rpartition(") ")[2].split()[1])
            except (FileNotFoundError, ProcessLookupError):
                continue
            children.setdefault(parent, []).append(int(entry))
    return children


def descendants(pid: int, children: dict) -> list:
    found, waiting = [], [pid]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += below
        waiting += below
    return found


def count_files(folder: Path) -> int:
    return sum(len(files) for _, _, files in os.walk(folder))


def plants() -> dict:
    """Whether a leak is seen, and a flat line with noise is not one."""
    def of(values):
        samples = Samples(None, None)
        samples.rows = [{"seconds": 5.0 * n, "x": value} for n, value in enumerate(values)]
        return samples.slope("x", 0)

    noise = [(n * 7919) % 400 for n in range(600)]
    return {
        "a leak of 2 MB/h in noise is seen": of([20_000 + n * 5 * 2048 / 3600 + noise[n] for n in range(600)]) > 1500,
        "noise is no leak": abs(of([20_000 + it for it in noise])) < 300,
        "a single step is no leak": abs(of([20_000] * 30 + [25_000] * 570)) < 300,
    }
