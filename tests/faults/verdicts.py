"""One line for each promise: `ok SUITE: promise (figures)`, or `FAIL SUITE: promise: what was found`."""

MAX_SHOWN = 3


class Verdicts:
    def __init__(self, suite: str):
        self.suite, self.failed = suite, 0

    def held(self, promise: str, wrong, figures: str = ""):
        """`wrong` lists what speaks against it; nothing does if it is empty."""
        wrong = list(wrong)
        if not wrong:
            print(f"ok {self.suite}: {promise}" + (f" ({figures})" if figures else ""), flush=True)
            return
        self.failed += 1
        shown = "; ".join(" ".join(str(it).split())[:300] for it in wrong[:MAX_SHOWN])
        more = f"; and {len(wrong) - MAX_SHOWN} more" if len(wrong) > MAX_SHOWN else ""
        print(f"FAIL {self.suite}: {promise}: {shown}{more}" + (f" ({figures})" if figures else ""), flush=True)

    def measured(self, promise: str, value: float, bound: float, unit: str = "s"):
        """A figure that must not be above its bound."""
        wrong = [f"{value:.1f} {unit}"] if value > bound else []
        self.held(promise, wrong, f"{value:.1f} of {bound:g} {unit}")
