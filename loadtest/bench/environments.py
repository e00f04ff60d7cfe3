"""Environments behind a gateway, and the same work without us."""

import os
import subprocess
import time
from pathlib import Path

import topology
from drive import Accounting, Client, python, shell, tool
from goals import Goal
from load import CONNECTIONS, Load, Samples

WARM_POOL = 2
CLAIMS = 4  # a round
REPEATS = 30  # a round, of what is measured one by one
ENVIRONMENTS = 64  # that share the Python calls: far more than connections, so that no queue fills up
SETTLE_SECONDS = 10
PRINT = 'print("ok")'
BARE_PYTHON = "bare python3 -I -S -c 'print(\"ok\")'"
SHELL = "sh -c true"
BARE_SHELL = "bare posix_spawn and wait: sh -c true"


class Site:
    """A gateway and a worker, and who asks them."""

    def __init__(self, folder: Path, name: str, options, warm_pool: int):
        self.folder = folder / name
        self.folder.mkdir()
        words = [
            "--baton", str(options.baton), "--gateways", "1", "--workers", "1", "--no-nginx", "--sample-tools",
            "--api-key", "bench-key", "--gateway-flag=--rate-per-second=0", "--gateway-flag=--max-environments=1000",
            f"--worker-flag=--warm-pool={warm_pool}",
        ]
        self.deployment, self.warm_pool = topology.Deployment(topology.parse(words), self.folder), warm_pool
        self.started = False

    def start(self):
        self.deployment.start()
        named = {process.name: process for process in self.deployment.processes}
        self.gateway, self.worker = Accounting(named["gateway-1"]), Accounting(named["worker-1"])
        self.client, self.url, self.held = Client(self.deployment.url), self.deployment.url, 0
        self.settle()

    def settle(self):
        """Until the worker has a sandbox for each environment that was called, and its pool is full."""
        deadline = time.monotonic() + SETTLE_SECONDS
        while self.worker.sandboxes() != self.held + self.warm_pool:
            if time.monotonic() > deadline:
                raise topology.Trouble(f"{self.worker.sandboxes()} sandboxes, not {self.held + self.warm_pool}")
            time.sleep(0.01)
        time.sleep(0.1)  # the last of them has just been forked

    def environment(self) -> str:
        handle, _ = self.client.launch()
        self.client.call(python(handle, PRINT))
        self.held += 1
        return handle

    def first_output(self, samples: Samples, how: str):
        """A new environment's first call: as a client sees it, and inside the worker, which has it on record."""
        handle, launched = self.client.launch()
        self.settle()
        before = self.worker.rpc_ms("execute")
        _, took = self.client.call(python(handle, PRINT))
        inside = self.worker.rpc_ms("execute") - before
        self.client.call(tool("closeEnvironment", environmentId=handle))
        self.settle()
        samples.add(f"{how} to first output, whole", "ms", took)
        samples.add(f"{how} to first output, inside the worker", "ms", inside)
        samples.add("launchShell: the record is on disk", "ms", launched)


def alone(samples: Samples, folder: Path):
    """The same work without us, and what the disk asks for a record."""
    def timed(work):
        began = time.perf_counter()
        work()
        return 1e3 * (time.perf_counter() - began)

    def spawn(*argv):
        os.waitpid(os.posix_spawn(argv[0], argv, os.environ), 0)

    def record():
        half = folder / "half"
        with open(half, "wb") as file:
            file.write(b"x" * 600)
            file.flush()
            os.fsync(file.fileno())
        half.rename(folder / "record")
        directory = os.open(folder, os.O_RDONLY)
        os.fsync(directory)
        os.close(directory)

    interpreter = "/usr/bin/python3" if os.access("/usr/bin/python3", os.X_OK) else topology.program("python3")
    bare = [interpreter, "-I", "-S", "-c", PRINT]
    output = lambda: subprocess.run(bare, stdout=subprocess.PIPE, check=True)  # noqa: E731
    for _ in range(REPEATS // 3):
        samples.add(BARE_PYTHON, "ms", timed(output))
        samples.add(BARE_SHELL, "ms", timed(lambda: spawn("/bin/sh", "-c", "true")))
        samples.add("bare write, fsync, rename, fsync", "ms", timed(record))


def inside(samples: Samples, site: Site, handle: str):
    """What the sandbox took, by the result's own word; without rpc and gateway."""
    for _ in range(REPEATS):
        for name, request in [("Python", python(handle, PRINT)), (SHELL, shell(handle, "true"))]:
            result, _took = site.client.call(request)
            samples.add(f"{name}, inside the sandbox", "ms", result["structuredContent"]["executionTimeInMilliseconds"])


def loads(site: Site, handles: list) -> list:
    gateway = {"gateway": site.gateway.own_cpu_seconds}
    both = {**gateway, "worker": site.worker.own_cpu_seconds}
    calls = [python(handle, PRINT) for handle in handles]
    commands = [shell(handle, "true") for handle in handles]
    return [
        Load("whoami", site.url, [tool("whoami")], gateway, singly=True),
        Load("Python", site.url, calls, both, expect='"stdout":"ok\\n"', singly=True),
        Load(SHELL, site.url, commands, both, expect='"exitCode":0', singly=True),
    ]


class Environments:
    """A gateway and a worker, the same without a warm pool, and a `baton dev` to weigh."""

    def __init__(self, options, folder: Path):
        self.folder = folder
        self.warm, self.cold = Site(folder, "warm", options, WARM_POOL), Site(folder, "cold", options, 0)
        (folder / "dev").mkdir()
        self.dev = topology.Deployment(topology.parse(["--baton", str(options.baton), "--dev", "--api-key", "bench-key"]), folder / "dev")
        self.deployments = [self.warm.deployment, self.cold.deployment, self.dev]

    def start(self, samples: Samples):
        warm = self.warm
        warm.start(), self.cold.start(), self.dev.start()
        samples.add("dev, idle", "MB", Accounting(self.dev.processes[0]).resident_mb())
        self.handles = [warm.environment() for _ in range(ENVIRONMENTS)]
        warm.settle()
        samples.add("one sandbox, its share (PSS)", "MB", *warm.worker.sandbox_mb())
        self.loads = loads(warm, self.handles)

    def round(self, samples: Samples):
        for _ in range(CLAIMS):
            self.warm.first_output(samples, "warm claim")
            self.cold.first_output(samples, "cold create")
        alone(samples, self.folder)
        inside(samples, self.warm, self.handles[0])

    def finish(self, samples: Samples):
        samples.add("gateway, after the load", "MB", self.warm.gateway.resident_mb())
        samples.add("worker, after the load", "MB", self.warm.worker.resident_mb())

    def goals(self, figures) -> list:
        shell_more = figures.more(f"{SHELL}, 1 connection, p50", BARE_SHELL)
        cpu = figures.median(f"Python, {CONNECTIONS} connections, CPU of gateway a call")
        return [
            Goal("Python, 1 connection, p50, whole, ms", figures.median("Python, 1 connection, p50"), at_most=0.4),
            Goal("Python, CPU of gateway a call, us", cpu, at_most=35),
            Goal("sh -c true, 1 connection, p50, more than bare posix_spawn, ms", shell_more, at_most=0.4),
        ]
