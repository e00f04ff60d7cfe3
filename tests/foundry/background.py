"""The service's background mode: a call with the tasks of 2025-11-25 ("Tasks"), asked for at whichever replica."""

import threading
import time

import handshake
from report import expect
from service import JSON_ONLY, Service

RELATED = "io.modelcontextprotocol/related-task"
PYTHON = "runPythonCodeInRemoteEnvironment"
SHELL = "runShellCommandInRemoteEnvironment"
STATES = {"working", "input_required", "completed", "failed", "cancelled"}
TTL_MILLISECONDS = 300_000
PATIENCE_SECONDS = 20


def check(report, service: Service):
    service = service.but(version="2025-11-25", accept=JSON_ONLY)

    with report.check("background: the capability and each tool say that calls may be tasks"):
        capabilities = handshake.connect(service, service.version)["capabilities"]
        expect(capabilities["tasks"]["requests"]["tools"]["call"] == {} and "cancel" in capabilities["tasks"], capabilities)
        tools = {tool["name"]: tool for tool in service.ask("tools/list").result["tools"]}
        for name in (PYTHON, SHELL):
            expect(tools[name]["execution"]["taskSupport"] == "optional", tools[name])

    with report.check("background: a call longer than the service waits is a task at once, and its result keeps"):
        with service.environment() as environment:
            finishes(service, environment)

    with report.check("background: tasks/result asked early waits for the end"):
        with service.environment() as environment:
            task = begin(service, PYTHON, {"environmentId": environment, "pythonCode": "import time; time.sleep(1); print('waited')"})
            answer = service.ask("tasks/result", {"taskId": task["taskId"]})
            expect(answer.result["structuredContent"]["stdout"] == "waited\n", answer.message)

    with report.check("background: tasks/cancel stops the work, and the environment goes on"):
        with service.environment() as environment:
            is_cancelled(service, environment)

    with report.check("background: an error of the code is the task's result"):
        with service.environment() as environment:
            task = begin(service, PYTHON, {"environmentId": environment, "pythonCode": "1 / 0"})
            answer = service.ask("tasks/result", {"taskId": task["taskId"]})
            expect(answer.result["isError"] and "ZeroDivisionError" in answer.text, answer.message)

    with report.check("background: an unknown task, and an ordinary call beside one, are told apart"):
        answer = service.ask("tasks/get", {"taskId": "786512e2-9e0d-44bd-8f29-789f320fe840"})
        expect(answer.status == 200 and answer.error["code"] == -32602, answer.message)
        with service.environment() as environment:
            answer = service.python(environment, "print('at once')")
            expect(answer.result["structuredContent"]["stdout"] == "at once\n" and "task" not in answer.result, answer.message)

    with report.check("parallel tool calls on one environment take turns, and each gets its own answer"):
        with service.environment() as environment:
            in_parallel(service, environment)


def begin(service: Service, tool: str, arguments: dict) -> dict:
    answer = service.call(tool, arguments, task={"ttl": TTL_MILLISECONDS})
    expect(answer.first_byte_seconds < 1, f"created after {answer.first_byte_seconds:.1f} s")
    task = answer.result["task"]
    expect(task["status"] in STATES and task["taskId"], task)
    expect(task["ttl"] is None or task["ttl"] >= TTL_MILLISECONDS, task)
    expect(task["pollInterval"] > 0 and task["createdAt"] and task["lastUpdatedAt"], task)
    return task


def finishes(service: Service, environment: str):
    code = f"import time; time.sleep({service.no_byte_seconds + 1}); print('in the background')"
    task = begin(service, PYTHON, {"environmentId": environment, "pythonCode": code})
    replicas, told = set(), until(service, task, {"completed"})
    for answer in told:
        replicas.add(answer.replica)
        expect(answer.first_byte_seconds < 1, "tasks/get waited")
    expect(len(replicas) > 1, f"all answered by {replicas}")
    for _ in range(2):
        result = service.ask("tasks/result", {"taskId": task["taskId"]}).result
        expect(result["structuredContent"]["stdout"] == "in the background\n", result)
        expect(result["_meta"][RELATED] == {"taskId": task["taskId"]}, result)


def is_cancelled(service: Service, environment: str):
    code = "import os, time\nfor n in range(600):\n    open('new', 'w').write(str(n)); os.replace('new', 'count'); time.sleep(0.1)"
    task = begin(service, SHELL, {"environmentId": environment, "execCommandAndArgs": ["python3", "-c", code]})
    time.sleep(1)  # it counts; nobody can look while it does, for an environment does one thing at a time
    cancelled = service.ask("tasks/cancel", {"taskId": task["taskId"]}).result
    expect(cancelled["status"] == "cancelled" and cancelled["taskId"] == task["taskId"], cancelled)
    counts = [service.shell(environment, f"sleep {pause}; cat count").result["structuredContent"]["stdout"] for pause in (0, 0.5)]
    expect(counts[0].isdigit() and counts[0] == counts[1], f"it still counts: {counts}")
    again = service.ask("tasks/cancel", {"taskId": task["taskId"]})
    expect(again.status == 200 and again.error["code"] == -32602, again.message)
    service.delete()
    expect(service.python(environment, "print('on')").result["structuredContent"]["stdout"] == "on\n", "lost")


def until(service: Service, task: dict, wanted: set) -> list:
    """Polls as often as it was told to, no longer than a bound."""
    answers, ends = [], time.monotonic() + service.no_byte_seconds + PATIENCE_SECONDS
    while time.monotonic() < ends:
        answers.append(service.ask("tasks/get", {"taskId": task["taskId"]}))
        state = answers[-1].result
        expect(state["taskId"] == task["taskId"] and state["status"] in STATES, state)
        if state["status"] in wanted:
            return answers
        time.sleep(state["pollInterval"] / 1000)
    raise AssertionError(f"never {wanted}: {answers[-1].message}")


def in_parallel(service: Service, environment: str):
    count = 8
    service.python(environment, "order = []")
    answers = [None] * count

    def one(number):
        alone = service.but()
        answers[number] = alone.python(environment, f"order.append({number}); print({number}, len(order))")

    threads = [threading.Thread(target=one, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    said = [answer.result["structuredContent"]["stdout"].split() for answer in answers]
    expect([int(number) for number, _ in said] == list(range(count)), said)
    expect(sorted(int(place) for _, place in said) == list(range(1, count + 1)), said)
