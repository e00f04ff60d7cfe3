#!/usr/bin/env python3
"""A client shaped like Azure AI Foundry's agent service against a deployment of Baton.

    tests/topology.py --api-key KEY -- tests/foundry/run client

`--no-byte-seconds` is how long this client waits for the first byte of a response: the service's own patience is 100 s,
and a call runs two seconds longer than the client waits, so the default says the same in less time (client.py itself,
in the place of run, takes the option).
"""

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "clients"))
import background  # noqa: E402
import handshake  # noqa: E402
import long_calls  # noqa: E402
import mistakes  # noqa: E402
import refusals  # noqa: E402
from report import Report  # noqa: E402
from service import Connection, Service  # noqa: E402


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--no-byte-seconds", type=float, default=3.0)
    options = parser.parse_args()
    report = Report("foundry")
    connection = Connection(os.environ["MCP_URL"], {"x-ms-apikey": os.environ["MCP_KEY"]})
    service = Service(connection, "https://ignored.example/mcp")
    handshake.check(report, service, os.environ["MCP_REPLICAS"].split(","))
    beside = long_calls.Beside(service)
    refusals.check(report, service)
    mistakes.check(report, service)
    impatient = service.but(no_byte_seconds=options.no_byte_seconds)
    background.check(report, impatient)
    long_calls.check(report, impatient, beside)
    report.exit()


main()
