"""A worker that holds many environments, of which few are in use, while others come and go."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import topology
from drive import Accounting, Client, python, tool
from goals import Goal
from load import Samples

ENVIRONMENTS = 1000  # each with a living sandbox
ACTIVE = 10  # called once a second, each
CREATES_A_SECOND = 10  # each claims a sandbox of the pool, and is closed again
WARM_POOL = 4
SECONDS = 10  # of each phase of a round
HANDS = 4  # that make them
PRINT = 'print("ok")'
USED = f"{ACTIVE} active"
CLAIM = f"{ENVIRONMENTS} environments: warm claim to first output"


def cpu_of(phase: str) -> str:
    return f"{ENVIRONMENTS} environments, {phase}: worker's own CPU"


IN_USE = cpu_of(USED)


class Worker:
    """A gateway and a worker, and a thousand environments there."""

    def __init__(self, options, folder: Path):
        words = [
            "--baton", str(options.baton), "--gateways", "1", "--workers", "1", "--no-nginx", "--api-key", "bench-key",
            "--gateway-flag=--rate-per-second=0", f"--gateway-flag=--max-environments={2 * ENVIRONMENTS}",
            "--gateway-flag=--idle-timeout-seconds=3600", f"--worker-flag=--capacity={2 * ENVIRONMENTS}",
            f"--worker-flag=--warm-pool={WARM_POOL}",
        ]
        self.deployment, self.loads = topology.Deployment(topology.parse(words), folder), []
        self.deployments = [self.deployment]

    def start(self, samples: Samples):
        self.deployment.start()
        named = {process.name: process for process in self.deployment.processes}
        self.worker, self.client = Accounting(named["worker-1"]), Client(self.deployment.url)
        samples.add("worker without environments", "MB", self.worker.resident_mb())
        with ThreadPoolExecutor(HANDS) as hands:
            handles = list(hands.map(lambda _: gather(self.deployment.url, ENVIRONMENTS // HANDS), range(HANDS)))
        self.active = [handle for some in handles for handle in some][:ACTIVE]
        samples.add(f"worker with {ENVIRONMENTS} environments", "MB", self.worker.resident_mb())

    def round(self, samples: Samples):
        self.phase(samples, "at rest", [])
        self.phase(samples, USED, [self.use])
        self.phase(samples, f"{USED}, {CREATES_A_SECOND} creates/s", [self.use, self.create])

    def phase(self, samples: Samples, name: str, steps: list):
        """The same steps a few times a second, and what the worker's own process pays for it: its sandboxes not counted."""
        began, before = time.monotonic(), self.worker.own_cpu_seconds()
        for number in range(SECONDS * CREATES_A_SECOND):
            for step in steps:
                step(samples, number)
            time.sleep(max(0, began + (number + 1) / CREATES_A_SECOND - time.monotonic()))
        share = (self.worker.own_cpu_seconds() - before) / (time.monotonic() - began)
        samples.add(cpu_of(name), "% core", 100 * share)

    def use(self, samples: Samples, number: int):
        _, took = self.client.call(python(self.active[number % ACTIVE], PRINT))
        samples.add(f"{ENVIRONMENTS} environments: Python in an active one", "ms", took)

    def create(self, samples: Samples, _: int):
        handle, launched = self.client.launch()
        _, claimed = self.client.call(python(handle, PRINT))
        _, closed = self.client.call(tool("closeEnvironment", environmentId=handle))
        samples.add(f"{ENVIRONMENTS} environments: launchShell", "ms", launched)
        samples.add(CLAIM, "ms", claimed)
        samples.add(f"{ENVIRONMENTS} environments: closeEnvironment", "ms", closed)

    def finish(self, samples: Samples):
        samples.add("worker after all", "MB", self.worker.resident_mb())

    def goals(self, figures) -> list:
        return [
            Goal(f"{IN_USE}, % of a core", figures.median(IN_USE), at_most=2),
            Goal(f"{CLAIM}, p95, ms", figures.p95(CLAIM), at_most=10),
        ]


def gather(url: str, count: int) -> list:
    """So many environments, each of which was called once."""
    client, handles = Client(url), []
    for _ in range(count):
        handles.append(client.launch()[0])
        client.call(python(handles[-1], PRINT))
    return handles
