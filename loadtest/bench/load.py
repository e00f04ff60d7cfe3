"""What was measured, by its name, and calls under load."""

from drive import wrk

CONNECTIONS = 16
SECONDS = 2


class Samples:
    """Every measurement by its name, in the order of the table."""

    def __init__(self):
        self.all = {}

    def add(self, name: str, unit: str, *values: float):
        self.all.setdefault(name, (unit, []))[1].extend(values)

    def summary(self) -> dict:
        return {
            name: {"unit": unit, "median": quantile(values, 0.5), "min": min(values), "p95": quantile(values, 0.95), "samples": [round(it, 4) for it in values]}
            for name, (unit, values) in self.all.items() if values
        }


def quantile(values: list, share: float) -> float:
    return sorted(values)[min(int(share * len(values)), len(values) - 1)]


class Load:
    """One kind of call under load, and whose CPU it costs."""

    def __init__(self, name: str, url: str, requests: list, payers: dict, expect: str = None, widths=(CONNECTIONS,), singly=False):
        self.name, self.url, self.requests, self.payers, self.expect = name, url, requests, payers, expect
        self.widths, self.singly = widths, singly

    def alone(self, samples: Samples):
        """How long a call takes that nothing else is done beside, where that is asked."""
        if self.singly:
            said = wrk(self.url, self.requests[:1], 1, 1, self.expect)
            samples.add(f"{self.name}, 1 connection, p50", "ms", said["p50"] / 1e3)
            samples.add(f"{self.name}, 1 connection, p95", "ms", said["p95"] / 1e3)

    def together(self, samples: Samples):
        for width in self.widths:
            before = {who: cpu() for who, cpu in self.payers.items()}
            said = wrk(self.url, self.requests, width, SECONDS, self.expect)
            name = f"{self.name}, {width} connection{'s' if width > 1 else ''}"
            samples.add(name, "calls/s", said["calls"] / said["seconds"])
            samples.add(f"{name}, p99", "ms", said["p99"] / 1e3)
            for who, cpu in self.payers.items():
                samples.add(f"{name}, CPU of {who} a call", "us", 1e6 * (cpu() - before[who]) / said["calls"])
