"""One line per check, `ok NAME` or `FAIL NAME: why`, for tests/run to count; the exit code says whether all held."""

import sys
import traceback
from contextlib import contextmanager
from pathlib import Path


class Report:
    def __init__(self, suite: str):
        self.suite = suite
        self.failed = 0

    @contextmanager
    def check(self, name: str):
        try:
            yield
        except Exception as error:
            self.failed += 1
            print(f"FAIL {self.suite}: {name}: {describe(error)}", flush=True)
        else:
            print(f"ok {self.suite}: {name}", flush=True)

    def exit(self):
        sys.exit(1 if self.failed else 0)


def describe(error: BaseException) -> str:
    """The innermost reason on one line: SDKs wrap theirs in exception groups."""
    while getattr(error, "exceptions", None):
        error = error.exceptions[0]
    lines = [line for line in traceback.extract_tb(error.__traceback__) if line.name != "expect"]
    text = " ".join(str(error).split())[:500] or "no message"
    return f"{type(error).__name__}: {text}" + (f" ({Path(lines[-1].filename).name}:{lines[-1].lineno})" if lines else "")


def expect(condition, why):
    if not condition:
        raise AssertionError(why)
