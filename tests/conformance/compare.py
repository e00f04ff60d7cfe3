"""Two runs of the suite side by side: against a server itself, and against it behind gateways."""

from differences import difference
from report import Report, expect


def compare(report: Report, direct, through, way: str, revision: str):
    """One check of ours per check of the suite: it says the same of both, or what differences.py says."""
    for key in sorted(direct.checks.keys() | through.checks.keys()):
        scenario, check_id, number = key
        name = f"{scenario}: {check_id}" + (f" ({number})" if number > 1 else "")
        ours, theirs = status(through, key), status(direct, key)
        if ours == theirs == "absent":
            continue
        known = difference(way, revision, scenario, check_id)
        if known and ours == known[0] != theirs:
            print(f"excused {report.suite}: {name}: {theirs} directly, {ours} through: {known[1]}")
            continue
        with report.check(name):
            message = through.checks.get(key, {}).get("errorMessage")
            expect(theirs == ours, f"{theirs} directly, {ours} through: {message or 'no reason given'}")
            expect(not known, "no difference any more: take it out of differences.py")


def status(outcome, key) -> str:
    """What the suite only logs is as good as absent."""
    said = outcome.checks[key]["status"] if key in outcome.checks else "INFO"
    return "absent" if said == "INFO" else said
