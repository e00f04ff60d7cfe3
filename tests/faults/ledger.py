"""What was promised to callers against what the files say: each call appends its key to a file in its environment."""

from caller import PYTHON, SHELL

FILE = "ledger"


def entry(key: str, in_python: bool, pause: float) -> tuple:
    """The tool and the arguments that write `key` down, after `pause` seconds of work."""
    if in_python:
        code = f"import time\ntime.sleep({pause})\nwith open({FILE!r}, 'a') as ledger:\n    ledger.write({key!r} + '\\n')\n"
        return PYTHON, {"pythonCode": code}
    work = f"sleep {pause} && " if pause else ""
    return SHELL, {"shellCommand": f"{work}echo {key} >> {FILE}"}


def judge(calls: list, files: dict) -> list:
    """What is wrong: `calls` are (environment, key, acknowledged), `files` the lines found in each environment.

    An acknowledged call has exactly one line, every other at most one, and nothing else is there.
    """
    wrong, expected = [], {}
    for environment, key, is_acknowledged in calls:
        expected.setdefault(environment, {})[key] = is_acknowledged
    for environment, keys in expected.items():
        lines = files.get(environment)
        if lines is None:
            wrong.append(f"the environment {environment} is lost")
            continue
        found = {}
        for line in lines:
            found[line] = found.get(line, 0) + 1
        for key, is_acknowledged in keys.items():
            count = found.pop(key, 0)
            if count > 1:
                wrong.append(f"{key} ran {count} times")
            elif is_acknowledged and count == 0:
                wrong.append(f"{key} was acknowledged and has no line")
        wrong += [f"{environment} has a line that nobody wrote: {line!r}" for line in found]
    return wrong


def plants() -> dict:
    """Doctored ledgers, each with what is wrong in it; `judge` must object to every one, and not to the true one."""
    calls = [("a", "a-1", True), ("a", "a-2", False), ("b", "b-1", True), ("b", "b-2", False)]
    true = {"a": ["a-1", "a-2"], "b": ["b-1"]}
    doctored = {
        "an acknowledged call twice": {**true, "a": ["a-1", "a-1"]},
        "an unacknowledged call twice": {**true, "a": ["a-1", "a-2", "a-2"]},
        "an acknowledged call without a line": {**true, "b": []},
        "a line in another environment": {**true, "b": ["b-1", "a-2"]},
        "half a line": {**true, "b": ["b-1", "b-"]},
        "an environment lost": {"a": true["a"]},
    }
    return {
        "a true ledger stands": not judge(calls, true),
        **{f"{what} is found": bool(judge(calls, files)) for what, files in doctored.items()},
    }
