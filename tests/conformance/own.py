"""The official suite against Baton's own tools, on all revisions; scenarios.py says what applies and why."""

from report import Report, expect
from scenarios import NOT_YET, RUNS
from suite import run_scenario, scenarios


def judge(report: Report, scenario: str, check: dict, excuses: dict):
    name, status = f"{scenario}: {check['id']} {check.get('name', '')}".rstrip(), check["status"]
    if check["id"] in excuses and status in ("FAILURE", "SKIPPED"):
        print(f"excused {report.suite}: {name}: {excuses[check['id']]}")
    elif check["id"] in excuses:
        with report.check(name):
            raise AssertionError(f"{status} now: take its excuse out of scenarios.py")
    elif status == "INFO":
        print(f"info {report.suite}: {name}")
    else:
        with report.check(name):
            expect(status in ("SUCCESS", "WARNING"), f"{status} {check.get('errorMessage') or ''}")
        if status == "WARNING":
            print(f"warning {report.suite}: {name}: {check.get('errorMessage')}")


def check_own(url: str) -> int:
    """Checks one server, and says how many checks failed."""
    failed = 0
    for revision, applying in RUNS.items():
        report = Report(f"conformance own {revision}")
        known = scenarios(revision)
        with report.check("the suite lists its scenarios"):
            expect(known, "nothing listed")
        for scenario in known:
            reason = next((NOT_YET[prefix] for prefix in NOT_YET if scenario.startswith(prefix)), None)
            if scenario in applying:
                with report.check(f"{scenario}: runs"):
                    for check in run_scenario(url, revision, scenario).checks.values():
                        judge(report, scenario, check, applying[scenario])
            elif reason:
                print(f"excused {report.suite}: {scenario}: {reason}")
            else:
                with report.check(scenario):
                    raise AssertionError("a new scenario: say in scenarios.py whether it applies")
        failed += report.failed
    return failed
