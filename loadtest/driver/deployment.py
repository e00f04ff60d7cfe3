"""What a scenario runs against: gateways behind nginx, workers, Redis, and for some another MCP server behind them."""

import itertools
from argparse import Namespace
from pathlib import Path

import balancer
import directory
import upstreams
from cluster import Cluster
from processes import Process, free_port
from serving import wait_until_ready


class Deployment(Cluster):
    """A deployment that can change while it serves: each process is at hand by its name."""

    def __init__(self, folder: Path, baton: Path, plan):
        super().__init__(folder, baton)
        self.plan, self.url, self.redis, self.keys = plan, None, None, []
        fixture = ["everything"] if plan.fixture else []
        options = Namespace(upstream=[], fixture=fixture, fixture_flag=[], upstream_setting=[], no_environments=False)
        self.upstreams = upstreams.Upstreams(options, folder)
        self.balancer_prefix = folder / "nginx"

    def start(self):
        self.folder.chmod(0o711)  # as root nginx's workers are nobody, and keep large bodies below the prefix
        self.upstreams.start(self.run, free_port)
        self.redis = directory.start_watched(self) if self.plan.watched else directory.start_one(self)
        self.flags = ["--config", self.configuration(), "--sample-tools", "--rate-per-second=0", *self.plan.gateway_flags]
        self.start_gateways(self.plan.gateways, self.redis, self.flags)
        self.start_workers(self.plan.workers, self.plan.worker_flags)
        self.url = balancer.start(self, self.balancer_prefix, free_port(), self.gateways)
        self.wait_until_each_serves(self.keys[0])

    def configuration(self) -> Path:
        """One API key for each tenant, and what stands behind the gateways."""
        made = [self.printed("key", "api", "--tenant", f"tenant-{n}", "--subject", "k6").split("\n", 1) for n in range(self.plan.tenants)]
        self.keys = [key for key, _ in made]
        path = self.folder / "gateway.toml"
        path.write_text("\n".join([*(table for _, table in made), self.upstreams.configuration()]))
        path.chmod(0o600)
        return path

    def add_gateways(self, count: int):
        """More replicas, and a balancer that knows them."""
        self.start_gateways(count, self.redis, self.flags)
        for url in self.internal[-count:]:
            wait_until_ready(url)
        balancer.reload(self.named("nginx"), self.balancer_prefix, self.gateways)

    def add_workers(self, count: int):
        self.start_workers(count, self.plan.worker_flags)
        for url in self.workers[-count:]:
            wait_until_ready(url)

    def named(self, name: str) -> Process:
        return next(process for process in self.processes if process.name == name)

    def start_again(self, process: Process):
        """Brings back what has ended, and waits until it serves."""
        process.restart()
        if process.drains:
            role = "gateway" if process.name.startswith("gateway") else "worker"
            wait_until_ready(process.listening(f"{role}-internal"))
        else:
            process.wait_until_accepting(process.port)

    def environment(self) -> dict:
        return {
            "MCP_URL": self.url, "MCP_KEY": self.keys[0], "MCP_KEYS": ",".join(self.keys),
            "MCP_REPLICAS": ",".join(self.replicas),
        }

    def gateway_names(self) -> list:
        return [process.name for process in self.processes if process.name.startswith("gateway-")]

    def worker_names(self) -> list:
        return [process.name for process in self.processes if process.name.startswith("worker-")]

    def in_turn(self, names: list):
        return map(self.named, itertools.cycle(names))
