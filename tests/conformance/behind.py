"""A server behind gateways: the suite against the server itself is the yardstick for the suite through them."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from compare import compare
from report import Report, expect
from suite import NODE, TOOLS, run

HERE = Path(__file__).resolve().parent
STOP_SECONDS = 20
CLIENT_SECONDS = 120
# What the fixture server itself has to reach, or it is no yardstick. `req-2026-07-28` holds every scenario of 2026-07-28
# (152 checks) and the ten of the tasks extension (44).
YARDSTICK = {"req-2026-07-28": 196, "2025-11-25": 84, "2025-06-18": 56, "2025-03-26": 3}
# The suite's own list of a revision may say more than its frozen set one day.
LONG = {"2026-07-28": 152}


def check_through(gateways: list, upstream: str, *, long: bool) -> int:
    wanted = YARDSTICK | (LONG if long else {})
    report = Report("conformance directly")
    direct = {}
    for revision, successes in wanted.items():
        with report.check(f"the fixture passes {successes} of {successes} checks of {revision}"):
            direct[revision] = run(upstream, revision)
            counted = direct[revision].count("SUCCESS"), direct[revision].count("FAILURE")
            expect(counted == (successes, 0), f"{counted} succeeded and failed")
    failed = report.failed
    failed += check_way("one gateway", gateways[:1], direct, wanted)
    failed += check_way("two gateways", gateways[:2], direct, wanted)
    return failed


def check_foreign(gateways: list, upstream: str) -> int:
    """Modern clients and the legacy suite against a server with sessions; it lacks most fixtures, and must lack the same."""
    failed = sum(drive(script, gateways[0]) for script in ("foreign.py", "foreign.js"))
    direct = {"2025-11-25": run(upstream, "2025-11-25")}
    return failed + check_way("server-everything", gateways[:1], direct, direct)


def check_sdk(gateways: list, upstream: str) -> int:
    """Each revision against an ordinary server on an official SDK. It lacks fixtures, too."""
    revisions = ("2026-07-28", "2025-11-25", "2025-06-18")
    direct = {revision: run(upstream, revision) for revision in revisions}
    return check_way("python sdk", gateways[:1], direct, direct)


def drive(script: str, url: str) -> int:
    """Runs one official client, which says its own checks; says whether any of them failed."""
    paths = {"PYTHONPATH": f"{TOOLS / 'mcp-2'}:{HERE.parent / 'clients'}", "NODE_PATH": str(TOOLS / "ts/node_modules")}
    program = NODE if script.endswith(".js") else sys.executable
    ended = subprocess.run([program, HERE / script, url], env={**os.environ, **paths}, timeout=CLIENT_SECONDS)
    return int(ended.returncode != 0)


def check_way(way: str, gateways: list, direct: dict, revisions) -> int:
    """The suite through these gateways, with a witness in front of them."""
    failed = 0
    for revision in revisions:
        report = Report(f"conformance {way} {revision}")
        with Witness(gateways) as witness:
            with report.check("the suite runs"):
                through = run(witness.url, revision)
                compare(report, direct[revision], through, way, revision)
                print(f"info {report.suite}: {summary(through)}", flush=True)
        with report.check("every message fits its schema"):
            expect(not witness.found, f"{len(witness.found)} do not; the first: {witness.found[:1]}")
        failed += report.failed
    return failed


def summary(outcome) -> str:
    passed = {scenario for scenario in outcome.scenarios() if not failures(outcome, scenario)}
    of = {name: outcome.count(name) for name in ("SUCCESS", "FAILURE", "WARNING")}
    tasks = {scenario for scenario in outcome.scenarios() if scenario.startswith("tasks-")}
    more = f"; tasks: {len(tasks & passed)} of {len(tasks)} scenarios" if tasks else ""
    return f"{of['SUCCESS']} of {of['SUCCESS'] + of['FAILURE']} checks, {of['WARNING']} warnings{more}"


def failures(outcome, scenario: str) -> int:
    return sum(key[0] == scenario and check["status"] == "FAILURE" for key, check in outcome.checks.items())


class Witness:
    """A witness.py in front of the gateways; what it found is there when it has ended."""

    def __init__(self, gateways: list):
        self.folder = tempfile.TemporaryDirectory(prefix="baton-witness-")
        self.violations, self.found = Path(self.folder.name) / "violations.jsonl", []
        command = [sys.executable, HERE / "witness.py", "--violations", self.violations, *gateways]
        env = {**os.environ, "PYTHONPATH": str(TOOLS / "mcp-2"), "PYTHONNOUSERSITE": "1"}
        self.process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True)

    def __enter__(self):
        self.url = self.process.stdout.readline().split()[1]
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(STOP_SECONDS)
        self.found = self.violations.read_text().splitlines()
        self.folder.cleanup()
