"""What models get wrong: each is answered with isError, and with words that say what to do next."""

from report import expect
from service import JSON_ONLY, Service

PYTHON = "runPythonCodeInRemoteEnvironment"
SHELL = "runShellCommandInRemoteEnvironment"
LAUNCH = ("launchShell", "environmentId", "verbatim")


def check(report, service: Service):
    service = service.but(accept=JSON_ONLY)
    with service.environment() as environment:
        for what, tool, arguments, words in mistakes(environment):
            with report.check(f"a model's mistake: {what}"):
                is_told(service.call(tool, arguments), words)
        with report.check("after all mistakes the environment goes on"):
            expect(service.python(environment, "print('on')").result["structuredContent"]["stdout"] == "on\n", "lost")

    with report.check("a closed environment is told apart from one that never was, and the way out is the same"):
        is_told(service.python(environment, "1"), ("launchShell",))


def mistakes(environment: str) -> list:
    """What, the tool, its arguments, and the words that must be in the answer."""
    def python(**arguments):
        return (PYTHON, {"pythonCode": "print(1)", **arguments})

    def shell(**arguments):
        return (SHELL, {"environmentId": environment, **arguments})

    here = {"environmentId": environment}
    changed = environment[:-2] + ("B" if environment[-2] == "A" else "A") + environment[-1]
    both = ("exactly one", "shellCommand", "execCommandAndArgs")
    return [
        *((f"the invented id {invented!r}", *python(environmentId=invented), LAUNCH)
          for invented in ("1", "trackc-session", "default", "", "bte_123", "session-" + "x" * 120)),
        ("an id with a letter changed", *python(environmentId=changed), ("launchShell",)),
        ("an id with a space before it", *python(environmentId=" " + environment), LAUNCH),
        ("an id that is a number", *python(environmentId=1), ("environmentId: ", "string", "again")),
        ("no id", *python(), ("environmentId", "again")),
        ("no code", PYTHON, here, ("pythonCode", "again")),
        ("code under another name", PYTHON, {**here, "code": "print(1)"}, ("`code`", "`pythonCode`", "again")),
        ("no arguments", PYTHON, {}, ("environmentId", "again")),
        ("a number as a string", *python(**here, timeoutSeconds="10"), ("timeoutSeconds: ", "integer", "again")),
        ("no time at all", *python(**here, timeoutSeconds=0), ("timeoutSeconds", "3600")),
        ("a day's time", *python(**here, timeoutSeconds=86_400), ("timeoutSeconds", "3600")),
        ("both forms of a command", *shell(shellCommand="ls", execCommandAndArgs=["ls"]), both),
        ("no command", *shell(), both),
        ("a command line where a list belongs", *shell(execCommandAndArgs="ls -l"), ("execCommandAndArgs: ", "list", "again")),
        ("a list where a command line belongs", *shell(shellCommand=["ls"]), ("shellCommand: ", "string", "again")),
        ("an empty list", *shell(execCommandAndArgs=[]), ("execCommandAndArgs", "first item")),
        ("arguments for a tool that has none", "launchShell", {"environmentId": "mine"}, ("launchShell", "again")),
        ("closing what was invented", "closeEnvironment", {"environmentId": "1"}, LAUNCH),
    ]


def is_told(answer, words):
    expect(answer.status == 200 and answer.result["isError"] is True, answer.message)
    missing = [word for word in words if word not in answer.text]
    expect(not missing, f"{missing} not in: {answer.text}")
    expect(answer.result["structuredContent"]["executed"] == "no", answer.result)
