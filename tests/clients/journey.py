"""What every Python client must be able to do: an agent's whole life in one environment, check by check.

An agent here is any SDK client behind four members:
    era                                             "modern" or "legacy"
    await tools()                                   names of the listed tools, in the server's order
    await call(tool, arguments, progress, timeout)  the result as it stood on the wire
    is_timeout(error), is_unknown_tool(error)       how this SDK says so
"""

import asyncio
import time

from report import Report, expect

TOOLS = {
    "launchShell",
    "launchPythonEnvironment",
    "runPythonCodeInRemoteEnvironment",
    "runShellCommandInRemoteEnvironment",
    "closeEnvironment",
    "listEnvironments",
}

SLOW_LINES = "import time\nfor i in range(4):\n    print('line', i, flush=True)\n    time.sleep(0.5)\n"
FIGURE = "import matplotlib\nmatplotlib.use('Agg')\nimport matplotlib.pyplot as plt\nplt.plot([1, 3, 2])\nplt.show()\n"


def text_of(result):
    return "\n".join(block["text"] for block in result["content"] if block["type"] == "text")


async def journey(agent, report: Report, authenticated: bool):
    environment = None

    async def python(code, progress=None, timeout=None, **arguments):
        arguments = {"environmentId": environment, "pythonCode": code, **arguments}
        return await agent.call("runPythonCodeInRemoteEnvironment", arguments, progress, timeout)

    async def shell(**arguments):
        arguments = {"environmentId": environment, **arguments}
        return await agent.call("runShellCommandInRemoteEnvironment", arguments)

    with report.check("lists the environment tools"):
        listed = await agent.tools()
        expect(TOOLS <= set(listed), f"missing {sorted(TOOLS - set(listed))}")
        expect(listed == await agent.tools(), "the order changed between two calls")

    with report.check("launches an environment"):
        launched = await agent.call("launchShell", {})
        expect(not launched.get("isError"), text_of(launched))
        structured = launched["structuredContent"]
        environment = structured["environmentId"]
        expect(environment.startswith("bte_") and len(environment) == 64, f"not a handle: {environment}")
        expect(structured["expiresAt"] and structured["idleTimeoutSeconds"] > 0, f"no lifetime: {structured}")
        expect(environment in text_of(launched), f"the text hides the handle from a model: {text_of(launched)}")

    with report.check("launchPythonEnvironment is another name of it"):
        other = (await agent.call("launchPythonEnvironment", {}))["structuredContent"]["environmentId"]
        expect(other != environment, "two launches gave one environment")
        await agent.call("closeEnvironment", {"environmentId": other})

    with report.check("sets a variable"):
        result = await python("import math\ncarried = 41\nprint('set')")
        expect(not result.get("isError"), text_of(result))
        expect(result["structuredContent"]["stdout"].strip() == "set", result["structuredContent"])
        expect(result["structuredContent"]["exitCode"] == 0, result["structuredContent"])

    with report.check("reads variable and import in the next call, as the value of the last expression"):
        result = await python("math.floor(carried) + 1")
        expect(str(result["structuredContent"]["executionResult"]) == "42", result["structuredContent"])
        expect("42" in text_of(result), f"not in the text: {text_of(result)}")

    with report.check("keeps files and the working directory"):
        await python("import os\nos.makedirs('deep', exist_ok=True)\nos.chdir('deep')\nopen('note', 'w').write('kept')")
        result = await python("print(open('note').read())")
        expect(result["structuredContent"]["stdout"].strip() == "kept", result["structuredContent"])
        result = await shell(shellCommand="cat /workspace/deep/note")
        expect(result["structuredContent"]["stdout"].strip() == "kept", result["structuredContent"])

    with report.check("an exception comes back with its traceback"):
        result = await python("1/0")
        expect(result.get("isError") is True, result)
        structured = result["structuredContent"]
        expect("ZeroDivisionError" in structured["stderr"] and structured["exitCode"] != 0, structured)
        expect("ZeroDivisionError" in text_of(result), text_of(result))

    with report.check("runs a shell command as a string"):
        structured = (await shell(shellCommand="echo out; echo err >&2; pwd; exit 3"))["structuredContent"]
        expect(structured["stdout"].split() == ["out", "/workspace"], structured)
        expect(structured["stderr"].strip() == "err" and structured["exitCode"] == 3, structured)

    with report.check("runs a shell command as a list, without a shell in between"):
        structured = (await shell(execCommandAndArgs=["printf", "%s|", "a b", "$HOME"]))["structuredContent"]
        expect(structured["stdout"] == "a b|$HOME|", structured)

    with report.check("refuses a shell call with both forms or with none"):
        both = await shell(shellCommand="true", execCommandAndArgs=["true"])
        expect(both.get("isError") is True, both)
        none = await shell()
        expect(none.get("isError") is True, none)

    with report.check("an invented environment is a tool error that names launchShell"):
        result = await agent.call("runPythonCodeInRemoteEnvironment", {"environmentId": "my-session", "pythonCode": "1"})
        expect(result.get("isError") is True, result)
        expect("launchShell" in text_of(result), text_of(result))

    with report.check("an altered handle is the same tool error"):
        altered = environment[:-1] + ("A" if environment[-1] != "A" else "B")
        result = await agent.call("runPythonCodeInRemoteEnvironment", {"environmentId": altered, "pythonCode": "1"})
        expect(result.get("isError") is True and "launchShell" in text_of(result), result)

    with report.check("an unknown tool is a JSON-RPC error"):
        try:
            result = await agent.call("noSuchTool", {})
        except Exception as error:
            expect(agent.is_unknown_tool(error), f"other error: {error!r}")
        else:
            raise AssertionError(f"a result instead: {result}")

    with report.check("a figure comes back as an image"):
        result = await python(FIGURE)
        images = [block for block in result["content"] if block["type"] == "image"]
        expect(len(images) == 1 and images[0]["mimeType"] == "image/png", text_of(result))
        expect(images[0]["data"].startswith("iVBORw0KGgo"), "not a PNG")

    with report.check("stdout arrives as progress while the code runs"):
        seen = []

        async def on_progress(progress, total, message):
            seen.append((time.monotonic(), progress, message or ""))

        result = await python(SLOW_LINES, progress=on_progress)
        ended = time.monotonic()
        expect(not result.get("isError"), text_of(result))
        streamed = "".join(message for _, _, message in seen)
        expect("line 0" in streamed and "line 3" in streamed, f"progress was {seen}")
        expect(ended - seen[0][0] > 1.0, f"the first came {ended - seen[0][0]:.2f} s before the result of 2 s of work")
        values = [progress for _, progress, _ in seen]
        expect(values == sorted(set(values)), f"progress must rise: {values}")

    with report.check("a timeout of the client leaves the environment usable"):
        # A modern client closes the stream, which cancels; a legacy call runs on to its own limit.
        try:
            await python("import time\ntime.sleep(30)", timeout=1.5, timeoutSeconds=30 if agent.era == "modern" else 4)
        except Exception as error:
            expect(agent.is_timeout(error), f"other error: {error!r}")
        else:
            raise AssertionError("no timeout")
        began = time.monotonic()
        result = await python("carried")
        waited = time.monotonic() - began
        expect(str(result["structuredContent"]["executionResult"]) == "41", result)
        expect(waited < 8, f"the next call waited {waited:.1f} s")

    with report.check("the call's own limit stops it and says so"):
        result = await python("import time\ntime.sleep(30)", timeoutSeconds=1)
        expect(result.get("isError") is True and result["structuredContent"].get("terminatedBy"), result)
        result = await python("carried")
        expect(str(result["structuredContent"]["executionResult"]) == "41", "variables must survive a timeout")

    with report.check("two calls at once both answer"):
        results = await asyncio.gather(python("carried + 1"), python("carried + 2"))
        values = [str(result["structuredContent"]["executionResult"]) for result in results]
        expect(values == ["42", "43"], values)

    with report.check("listEnvironments shows one's own, and none to the anonymous"):
        result = await agent.call("listEnvironments", {})
        expect(not result.get("isError"), text_of(result))
        listed = [row["environmentId"] for row in result["structuredContent"]["environments"]]
        if authenticated:
            expect(all(handle.startswith("bte_") for handle in listed) and listed, listed)
            again = await agent.call(
                "runPythonCodeInRemoteEnvironment", {"environmentId": listed[0], "pythonCode": "1 + 1"}
            )
            expect(not again.get("isError"), text_of(again))
        else:
            expect(listed == [], listed)

    with report.check("closes the environment, and a call after that says so"):
        result = await agent.call("closeEnvironment", {"environmentId": environment})
        expect(not result.get("isError"), text_of(result))
        result = await python("carried")
        expect(result.get("isError") is True and "launchShell" in text_of(result), result)
