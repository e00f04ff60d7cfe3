"""What every part of the bench is made of: rivals, gateways without environments, loads, goals."""

import functools
import subprocess
from pathlib import Path

import directory
from cluster import Cluster
from drive import KEY, Request, tool
from processes import Process

ROOT = Path(__file__).resolve().parents[2]
CALL_BYTES = 590
# Limits of one address, tenant and replica that no load of the bench comes to. What is counted is counted.
RAISED = [
    "--rate-per-second", "1000000", "--rate-burst", "1000000", "--max-connections", "20000",
    "--max-connections-per-address", "20000", "--max-listens", "20000", "--max-listens-per-tenant", "20000",
]


@functools.cache
def rivals() -> Path:
    """What Baton is measured beside, built once."""
    subprocess.run(["cargo", "build", "--locked", "--quiet", "--release", "--example", "rivals"], cwd=ROOT, check=True)
    return ROOT / "target/release/examples/rivals"


def call(name: str) -> Request:
    """A call of an upstream's tool, of so many bytes."""
    rest = len(tool(name, text="").body)
    return tool(name, text="x" * (CALL_BYTES - rest))


class Part(Cluster):
    """Starts what it needs; measures in rounds, which end with its loads; says what its figures are to be.

    A part has `start(samples)` and `goals(figures)`.
    """

    def __init__(self, options, folder: Path):
        super().__init__(folder, options.baton)
        self.deployments, self.loads, self.redis, self.config = [self], [], None, None

    def round(self, samples):
        pass

    def finish(self, samples):
        pass

    def rival(self, name: str, *words) -> Process:
        return self.run(name, [rivals(), *words])

    def gateway(self, upstreams: dict, *flags) -> Process:
        """One more, of one fleet, with a configuration of its own; with upstreams it has no tools of its own."""
        self.redis = self.redis or directory.start_one(self)
        self.config = self.folder / f"gateway-{len(self.gateways) + 1}.toml"
        self.config.write_text(configuration(upstreams))
        self.start_gateways(1, self.redis, ["--config", self.config, "--api-key", KEY, *RAISED, *flags])
        return self.processes[-1]


def configuration(upstreams: dict) -> str:
    tables = (
        f'[[upstream]]\nname = "{name}"\nprefix = "{name}_"\nurl = "{url}"\nprivate_networks = ["127.0.0.1"]\n' for name, url in upstreams.items())
    return "\n".join([*(["[tools]", "environments = false"] if upstreams else []), *tables])
