"""What each scenario needs around it: the deployment, the faults, and the numbers of its two forms."""

from dataclasses import dataclass, field, replace

import faults
import verdicts


@dataclass(frozen=True)
class Plan:
    """The numbers are those of the full form; `short` holds what differs in the short one."""

    seconds: int
    rate: int = 0
    gateways: int = 3
    workers: int = 2
    tenants: int = 1
    watched: bool = False
    fixture: bool = False
    gateway_flags: tuple = ()
    worker_flags: tuple = ()
    faults: callable = faults.none
    verdicts: callable = verdicts.none
    settings: dict = field(default_factory=dict)
    short: dict = field(default_factory=dict)

    def in_short(self):
        return replace(self, **self.short)


# A loaded machine misses any latency by chance: the short forms are about what is right, not about how fast.
PATIENT = {"WHOAMI_P99_MS": 5000, "PYTHON_P99_MS": 5000}
# Slots in all, as the overload scenario is told, and of each of its two gateways.
SLOTS = 2
LIFE_SECONDS = 5

PLANS = {
    "smoke": Plan(seconds=10, gateways=2, workers=1, fixture=True, gateway_flags=("--task-after-seconds=1",)),
    "steady": Plan(seconds=60, rate=60, watched=True, short={"seconds": 5, "rate": 30, "settings": PATIENT}),
    "ramp": Plan(
        seconds=120, rate=2000, verdicts=verdicts.knees, settings={"WHOAMI_RATE": 12000},
        short={"seconds": 20, "rate": 1000, "settings": {"WHOAMI_RATE": 4000}},
    ),
    "overload": Plan(
        seconds=60, gateways=2, workers=1, gateway_flags=(f"--max-calls={SLOTS // 2}",), settings={"SLOTS": SLOTS},
        short={"seconds": 9, "settings": {"SLOTS": SLOTS, "ADMITTED_P99_FACTOR": 500, "LEAST_OVERLOAD": 2, "LEAST_GOODPUT": 0.6}},
    ),
    "noisy-tenant": Plan(
        seconds=60, rate=60, gateways=2, workers=1, tenants=3, gateway_flags=("--max-calls=16", "--max-calls-per-tenant=4"),
        short={"seconds": 8},
    ),
    "rolling-restart": Plan(
        seconds=70, rate=305, faults=faults.rolling_restart,
        short={"seconds": 32, "rate": 40, "gateways": 2, "settings": {"ENVIRONMENTS": 12}},
    ),
    "scale-out": Plan(
        seconds=60, rate=100, gateways=1, workers=1, faults=faults.scale_out, verdicts=verdicts.gateways_have_their_share,
        short={"seconds": 44, "rate": 50},
    ),
    "replica-kill": Plan(
        seconds=60, rate=150, faults=faults.kill_gateways(every=5),
        short={"seconds": 8, "rate": 40, "faults": faults.kill_gateways(every=2), "settings": {"ENVIRONMENTS": 40}},
    ),
    "worker-kill": Plan(
        seconds=60, rate=60, faults=faults.kill_workers(every=8),
        short={"seconds": 10, "rate": 30, "faults": faults.kill_workers(every=3), "settings": {"ENVIRONMENTS": 40}},
    ),
    "redis-failover": Plan(
        seconds=40, rate=100, watched=True, faults=faults.kill_master, verdicts=verdicts.creating_is_back,
        short={"seconds": 20, "rate": 50},
    ),
    "key-rotation": Plan(
        seconds=120, rate=80, faults=faults.rotate_keys(LIFE_SECONDS), settings={"LIFE_SECONDS": LIFE_SECONDS},
        short={"seconds": 75, "rate": 40, "gateways": 2, "workers": 1},
    ),
}
