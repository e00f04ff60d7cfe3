"""What each scenario needs around it: the deployment, the faults, and the numbers of its two forms."""

from dataclasses import dataclass, field

import faults


@dataclass(frozen=True)
class Plan:
    """`seconds` and `rate` are those of the full form; `short` is what differs in the short one, as settings of the script."""

    seconds: int
    rate: int = 0
    gateways: int = 3
    workers: int = 2
    tenants: int = 1
    watched: bool = False
    fixture: bool = False
    gateway_flags: list = field(default_factory=list)
    worker_flags: list = field(default_factory=list)
    faults: callable = faults.none
    settings: dict = field(default_factory=dict)
    short: dict = field(default_factory=dict)


# A loaded machine misses any latency by chance: the short forms are about what is right, not about how fast.
PATIENT = {"WHOAMI_P99_MS": 5000, "PYTHON_P99_MS": 5000}

PLANS = {
    "smoke": Plan(seconds=10, gateways=2, workers=1, fixture=True, gateway_flags=["--task-after-seconds=1"]),
    "steady": Plan(seconds=60, rate=60, watched=True, short={"SECONDS": 5, "RATE": 30, **PATIENT}),
}
