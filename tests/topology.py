#!/usr/bin/env python3
"""Runs a command against a real deployment on this machine: redis-server, gateways, workers, nginx in front.

    tests/topology.py [--gateways 3] [--workers 2] [--api-key KEY] ... -- COMMAND ARG...
    tests/topology.py --dev -- COMMAND ARG...        one `baton dev` instead
    tests/topology.py --fixture NAME -- COMMAND      another MCP server behind the gateways (upstreams.py)
    tests/topology.py                                prints the addresses and stays until it is interrupted

The command finds MCP_URL (through nginx, or the only process), MCP_KEY, MCP_GATEWAYS (each gateway's own URL) and
MCP_REPLICAS (their ids), MCP_UPSTREAMS (NAME=URL) and MCP_JOURNALS (NAME=FILE), comma-separated. Everything is started on free loopback ports, in a folder that goes away at
the end, and stopped by its pid whatever happens. The exit code is the command's; 70 if the deployment did not start,
71 if a Baton process did not end with 0 when told to.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "infra/local"))

import balancer  # noqa: E402
import directory  # noqa: E402
import upstreams  # noqa: E402
from cluster import Cluster  # noqa: E402
from processes import Process, Trouble, free_port, program  # noqa: E402, F401  # for those who import this


class Deployment(Cluster):
    """What infra/local starts, as a test asks for it: with fixtures behind it, without nginx, as one process."""

    def __init__(self, options, folder: Path):
        super().__init__(folder, options.baton)
        self.options, self.url = options, None
        self.upstreams = upstreams.Upstreams(options, folder)

    def start(self):
        self.upstreams.start(self.run, free_port)
        if self.options.dev:
            self.start_dev()
        else:
            self.start_cluster()
        if not self.options.no_environments:
            self.wait_until_each_serves(self.options.api_key)

    def start_dev(self):
        dev = self.run_baton("dev", "dev", [*self.access(), *self.packages(), *self.upstreams.flags()])
        self.url = dev.listening("gateway")
        self.gateways = [self.url]

    def start_cluster(self):
        self.start_gateways(self.options.gateways, directory.start_one(self), [
            *self.access(), *(["--sample-tools"] if self.options.sample_tools else []), *self.upstreams.flags(),
            *self.options.gateway_flag,
        ])
        self.start_workers(self.options.workers, [*self.packages(), *self.options.worker_flag])
        self.url = self.gateways[0]
        if self.options.nginx:
            self.folder.chmod(0o711)  # as root nginx's workers are nobody, and keep large bodies below the prefix
            self.url = balancer.start(self, self.folder / "nginx", free_port(), self.gateways)

    def access(self) -> list:
        if self.options.api_key:
            return ["--api-key", self.options.api_key]
        return [] if self.options.dev else ["--anonymous"]

    def packages(self) -> list:
        return ["--python-packages", self.options.python_packages] if self.options.python_packages else []

    def environment(self) -> dict:
        return {
            "MCP_URL": self.url,
            "MCP_KEY": self.options.api_key or "",
            "MCP_GATEWAYS": ",".join(self.gateways),
            "MCP_REPLICAS": ",".join(self.replicas),
            **self.upstreams.environment(),
        }

    def stop(self) -> bool:
        wrong = super().stop()
        for line in wrong:
            print(f"topology: {line}", file=sys.stderr)
        return not wrong


def parse(words=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--baton", type=Path, default=ROOT / "target/release/baton")
    parser.add_argument("--dev", action="store_true", help="one process instead of a cluster")
    parser.add_argument("--gateways", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--no-nginx", dest="nginx", action="store_false", help="MCP_URL is the first gateway")
    parser.add_argument("--api-key", help="without one: anonymous")
    parser.add_argument("--sample-tools", action="store_true")
    parser.add_argument("--python-packages", type=Path)
    parser.add_argument("--gateway-flag", action="append", default=[], help="passed on; repeatable")
    parser.add_argument("--worker-flag", action="append", default=[], help="passed on; repeatable")
    upstreams.add_options(parser)
    parser.add_argument("--keep-logs", type=Path, help="copies every process's output there")
    parser.add_argument("command", nargs="*", metavar="-- COMMAND")
    return parser.parse_args(words)


def main() -> int:
    options = parse()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="baton-topology-") as folder:
        deployment = Deployment(options, Path(folder))
        code = 70
        try:
            deployment.start()
            if options.command:
                code = subprocess.run(options.command, env={**os.environ, **deployment.environment()}).returncode
            else:
                for name, value in deployment.environment().items():
                    print(f"{name}={value}", flush=True)
                signal.pause()
        except Trouble as trouble:
            print(f"topology: {trouble}", file=sys.stderr)
            print(deployment.tails(), file=sys.stderr)
        except KeyboardInterrupt:
            code = 0
        finally:
            clean = deployment.stop()
            if options.keep_logs:
                options.keep_logs.mkdir(parents=True, exist_ok=True)
                for process in deployment.processes:
                    shutil.copy(process.out, options.keep_logs)
                    shutil.copy(process.err, options.keep_logs)
        return code if code or clean else 71


if __name__ == "__main__":
    sys.exit(main())
