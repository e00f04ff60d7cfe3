"""Where the suite says of a server behind gateways what it does not say of the server itself, and why that is right.

A difference that does not show any more fails the run, so this table cannot grow old.
"""

from dataclasses import dataclass
from fnmatch import fnmatchcase

FOREIGN, SDK = "server-everything", "python sdk"  # ways that behind.py goes
WITH_SESSIONS = ("2025-11-25", "2025-06-18", "2025-03-26")
NO_SESSION = "Baton issues no session id: the suite finds nothing to check, to end or to hold two streams together"
NO_RESUMING = "without a session no stream can be resumed: the suite warns of that, and finds no event ids and retry times to look at"


@dataclass(frozen=True)
class Difference:
    """What the suite says of some checks of a scenario through gateways, whatever it says directly."""

    revisions: tuple
    scenario: str
    through: dict  # check, `*` allowed, the first that fits counts -> status
    reason: str
    way: str = "*"

    def status(self, way: str, revision: str, scenario: str, check: str):
        if scenario != self.scenario or revision not in self.revisions or not fnmatchcase(way, self.way):
            return None
        return next((status for pattern, status in self.through.items() if fnmatchcase(check, pattern)), None)


DIFFERENCES = [
    Difference(("2025-11-25", "2025-06-18"), "server-initialize", {"server-session-id-visible-ascii": "absent"}, NO_SESSION),
    Difference(WITH_SESSIONS, "server-session-lifecycle", {"server-session-*": "absent"}, NO_SESSION),
    Difference(
        ("2025-11-25",),
        "server-sse-multiple-streams",
        {"server-sse-multiple-streams-session": "WARNING", "server-*": "absent"},
        NO_SESSION,
    ),
    Difference(
        ("2025-11-25",),
        "server-sse-polling",
        {
            "server-sse-polling-session": "WARNING",
            "server-sse-*": "absent",
            "incoming-sse-event": "absent",
        },
        NO_RESUMING,
    ),
    Difference(
        ("2025-11-25",),
        "dns-rebinding-protection",
        {"localhost-host-rebinding-rejected": "SUCCESS"},
        "server-everything takes any Host; the gateway in front of it does not",
        FOREIGN,
    ),
    *(
        Difference(
            ("2025-11-25", "2025-06-18"),
            f"resources-{verb}",
            {f"resources-{verb}": "SUCCESS"},
            "the server refuses it; Baton acknowledges it of every resource there is, as it speaks to the server's modern era",
            SDK,
        )
        for verb in ("subscribe", "unsubscribe")
    ),
]


def difference(way: str, revision: str, scenario: str, check: str):
    """The status that is right through gateways and why, where it is not the one the server itself has."""
    for known in DIFFERENCES:
        if status := known.status(way, revision, scenario, check):
            return status, known.reason
    return None
