"""What figures are to be."""

from dataclasses import dataclass


class Figures:
    """The medians of all that was measured, by name."""

    def __init__(self, summary: dict):
        self.summary = summary

    def median(self, name: str) -> float:
        return self.summary[name]["median"]

    def p95(self, name: str) -> float:
        return self.summary[name]["p95"]

    def ratio(self, one: str, other: str) -> float:
        return self.median(one) / self.median(other)

    def more(self, one: str, other: str) -> float:
        return self.median(one) - self.median(other)


@dataclass(frozen=True)
class Goal:
    """One figure that is to be so much, at most or at least."""

    name: str
    value: float
    at_most: float = None
    at_least: float = None

    def holds(self) -> bool:
        return self.value <= self.at_most if self.at_least is None else self.value >= self.at_least

    def bound(self) -> str:
        return f"at most {self.at_most:g}" if self.at_least is None else f"at least {self.at_least:g}"

    def line(self, earlier: dict) -> str:
        then = f" (earlier {earlier['value']:.2f})" if earlier else ""
        return f"{self.name:78} {self.value:10.2f}  {self.bound():14} {'holds' if self.holds() else 'FAILS'}{then}"

    def record(self) -> dict:
        bound = {"at_most": self.at_most} if self.at_least is None else {"at_least": self.at_least}
        return {"value": self.value, **bound, "holds": self.holds()}
