#!/usr/bin/env python3
"""Prometheus' configuration and alert rules by its own tool, and the parts of the dashboard that need no data."""

import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/clients"))

import yaml  # noqa: E402
from report import Report, expect  # noqa: E402

OBSERVABILITY = ROOT / "infra/observability"


def promtool(*words, where: Path = OBSERVABILITY):
    done = subprocess.run(["promtool", *words], cwd=where, capture_output=True, text=True, timeout=60)
    expect(done.returncode == 0, done.stdout + done.stderr)


def main():
    report = Report("observability")
    with report.check("prometheus.yml and its rules are what Prometheus takes"), tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for name in ("prometheus.yml", "alerts.yml"):
            shutil.copy(OBSERVABILITY / name, copy)
        shutil.copytree(ROOT / "infra/compose/targets", copy / "targets")
        promtool("check", "config", "--syntax-only", "prometheus.yml", where=copy)
        promtool("check", "config", "prometheus.yml", where=copy)
    with report.check("every alert is tested"):
        promtool("test", "rules", "alerts.test.yml")
        rules = {rule["alert"] for rule in yaml.safe_load((OBSERVABILITY / "alerts.yml").read_text())["groups"][0]["rules"]}
        tests = yaml.safe_load((OBSERVABILITY / "alerts.test.yml").read_text())["tests"]
        fired = {test["alertname"] for group in tests for test in group["alert_rule_test"] if test["exp_alerts"]}
        expect(fired == rules, rules - fired)
    with report.check("the dashboard's panels do not overlap and have names of their own"):
        dashboard = json.loads((OBSERVABILITY / "grafana/dashboards/baton.json").read_text())
        cells = [cell for panel in dashboard["panels"] for cell in covered(panel["gridPos"])]
        expect(len(cells) == len(set(cells)) and all(x < 24 for x, _ in cells), "panels overlap")
        for what in ("id", "title"):
            names = [panel[what] for panel in dashboard["panels"]]
            expect(len(names) == len(set(names)), names)
    with report.check("panels that alerts name are there"):
        titles = {panel["title"] for panel in dashboard["panels"]}
        named = set(re.findall(r'"([A-Z][^"]+)"', "".join(
            rule["annotations"]["description"] for rule in yaml.safe_load((OBSERVABILITY / "alerts.yml").read_text())["groups"][0]["rules"])))
        expect(named and all(any(title.startswith(name) for title in titles) for name in named), named - titles)
    report.exit()


def covered(place: dict):
    return [(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])]


main()
