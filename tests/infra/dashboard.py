#!/usr/bin/env python3
"""Each query of the dashboard, and each alert, asked of a Prometheus that watches three gateways and two workers under
a little of everything: calls, errors, refusals. Starts infra/local/up and runs again inside it."""

import itertools
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "infra/local"), str(ROOT / "tests/clients")]
sys.dont_write_bytecode = True

import yaml  # noqa: E402
from cluster import call, launched  # noqa: E402
from report import Report, expect  # noqa: E402

OBSERVABILITY = ROOT / "infra/observability"
PATIENCE_SECONDS = 45  # several scrapes, each 5 s apart, and a rate over them
RATED = "lookup_fact"


def outside() -> int:
    with tempfile.TemporaryDirectory(prefix="baton-dashboard-") as folder:
        words = ["--port", "0", "--data", folder, f"--gateway-flag=--tool-rate-per-second={RATED}=1"]
        return subprocess.run([ROOT / "infra/local/up", *words, "--", sys.executable, __file__, "inside"]).returncode


def inside():
    report, stop = Report("dashboard"), threading.Event()
    load = threading.Thread(target=make_load, args=[stop])
    load.start()
    try:
        deadline = time.monotonic() + PATIENCE_SECONDS
        for panel in panels():
            for target in panel["targets"]:
                with report.check(f"{panel['title']} {target['refId']} has data"):
                    wait_for_data(target["expr"], deadline)
        with report.check("the variable `instance` lists every replica and worker"):
            found = {series["instance"] for series in ask("series", {"match[]": 'up{job=~"baton-.*"}'})}
            expect(found == {"gateway-1", "gateway-2", "gateway-3", "worker-1", "worker-2"}, found)
        shares = next(panel for panel in panels() if panel["title"] == "Calls per replica")["targets"][0]["expr"]
        with report.check("each replica has its share of the calls"):
            while len(rates := sorted(float(it["value"][1]) for it in query(shares))) < 3 or rates[0] < 0.8 * rates[-1]:
                expect(time.monotonic() < deadline, rates)
                time.sleep(1)
        with report.check("nothing is called an emergency that is none"):
            firing = [alert["labels"]["alertname"] for alert in ask("alerts", {})["alerts"] if alert["state"] == "firing"]
            expect(firing == [], firing)
        with report.check("the alerts ask for metrics that there are"):
            rules = yaml.safe_load((OBSERVABILITY / "alerts.yml").read_text())["groups"][0]["rules"]
            for name in set(re.findall(r"\b(?:baton|mcp)_\w+(?={)", " ".join(rule["expr"] for rule in rules))):
                wait_for_data(f"count({name})", deadline)
    finally:
        stop.set()
        load.join()
    report.exit()


def panels() -> list:
    dashboard = json.loads((OBSERVABILITY / "grafana/dashboards/baton.json").read_text())
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def make_load(stop: threading.Event):
    """A little of everything that the dashboard shows, again and again."""
    url, key = os.environ["MCP_URL"], os.environ["MCP_KEY"]
    shell, gone = launched(url, key), launched(url, key)
    call(url, key, "closeEnvironment", {"environmentId": gone})
    every = [
        ("whoami", {}), (RATED, {"topic": "mcp"}), ("no_such_tool", {}), ("listEnvironments", {}),
        ("runPythonCodeInRemoteEnvironment", {"environmentId": shell, "pythonCode": "1 + 1"}),
        ("runShellCommandInRemoteEnvironment", {"environmentId": shell, "shellCommand": "true"}),
        ("runShellCommandInRemoteEnvironment", {"environmentId": gone, "shellCommand": "true"}),
    ]
    for tool, arguments in itertools.cycle(every):
        if stop.wait(0.02):
            return
        call(url, key, tool, arguments)


def wait_for_data(expression: str, deadline: float):
    while not any(sample["value"][1] != "NaN" for sample in query(expression)):
        expect(time.monotonic() < deadline, f"no data for {expression}")
        time.sleep(1)


def query(expression: str) -> list:
    expression = expression.replace("$__rate_interval", "30s").replace("$instance", ".*")
    return ask("query", {"query": expression})["result"]


def ask(what: str, words: dict):
    with urllib.request.urlopen(f"{os.environ['PROMETHEUS_URL']}/api/v1/{what}?{urllib.parse.urlencode(words)}", timeout=10) as answer:
        return json.load(answer)["data"]


if __name__ == "__main__":
    if sys.argv[1:] == ["inside"]:
        inside()
    sys.exit(outside())
