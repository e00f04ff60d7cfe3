"""Each host as its users have it: the file of infra/clients with the address changed, in a home of its own."""

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import model

CLIENTS = Path(__file__).resolve().parent.parent.parent / "infra/clients"
PLACEHOLDER, KEY_PLACEHOLDER = "https://baton.example.com/mcp", "btk_YOUR_KEY"
URL, KEY = os.environ["MCP_URL"], os.environ["MCP_KEY"]
SECONDS = 60
TOOLS = ["launchShell", "runPythonCodeInRemoteEnvironment", "runShellCommandInRemoteEnvironment"]


def expect(condition, why):
    if not condition:
        raise AssertionError(str(why))


def configuration(name: str) -> str:
    """A file that people copy, for this server."""
    text = (CLIENTS / name).read_text()
    expect(PLACEHOLDER in text, f"{name} does not name {PLACEHOLDER}")
    return text.replace(PLACEHOLDER, URL).replace(KEY_PLACEHOLDER, KEY)


class Home:
    """A home without any account, and programs run in it."""

    def __init__(self, folder: str):
        self.folder = Path(folder)
        self.project = self.folder / "project"
        self.project.mkdir()

    def put(self, path: str, text: str) -> Path:
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def run(self, *words, **variables) -> subprocess.CompletedProcess:
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.folder), "BATON_KEY": KEY, **variables}
        expect(shutil.which(words[0]), f"{words[0]} is not installed")
        return subprocess.run([str(word) for word in words], cwd=self.project, env=environment, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=SECONDS)


def told(asked: list, prefix: str):
    """The model was told of our tools: the host has connected and listed them."""
    text = json.dumps(asked)
    missing = [tool for tool in TOOLS if prefix + tool not in text]
    expect(asked and not missing, f"{len(asked)} requests came to the model; missing in them: {missing}")


def inspector(home: Home):
    file = home.put("inspector.json", configuration("inspector.json"))

    def cli(*words):
        ran = home.run("mcp-inspector", "--cli", "--config", file, "--server", "baton", *words)
        expect(ran.returncode == 0, ran.stderr[-300:] + ran.stdout[-300:])
        return json.loads(ran.stdout)

    # --strict fails on a tool schema that some model would refuse.
    names = [tool["name"] for tool in cli("--method", "tools/list", "--strict")["tools"]]
    expect(set(TOOLS) <= set(names), names)
    environment = cli("--method", "tools/call", "--tool-name", "launchShell")["structuredContent"]["environmentId"]
    arguments = [f"environmentId={environment}", "pythonCode=6*7"]
    ran = cli("--method", "tools/call", "--tool-name", TOOLS[1], "--tool-arg", *arguments)
    expect(str(ran["structuredContent"]["executionResult"]) == "42", ran)


def openai_agents(_: Home):
    sys.path.insert(0, str(CLIENTS))
    os.environ.update(BATON_URL=URL, BATON_KEY=KEY, OPENAI_API_KEY="none", OPENAI_AGENTS_DISABLE_TRACING="1")

    def turn(asked: dict) -> dict:
        """Launches, computes with the handle that came back, and says what came of it."""
        outputs = [item["output"] for item in asked["input"] if item.get("type") == "function_call_output"]
        handle = re.search(r"bte_[\w-]{60}", json.dumps(outputs))
        if not handle:
            return model.call("launchShell", {})
        if len(outputs) == 1:
            return model.call(TOOLS[1], {"environmentId": handle.group(), "pythonCode": "print(6 * 7)"})
        return model.say(f"done: {outputs[1]}")

    async def ask(question: str) -> str:
        from agents import Agent, OpenAIResponsesModel, Runner
        from openai import AsyncOpenAI
        import openai_agents

        async with openai_agents.baton() as server:
            client = AsyncOpenAI(base_url=stub.url, max_retries=0)
            agent = Agent(name="coder", mcp_servers=[server], model=OpenAIResponsesModel("stub", client))
            return (await Runner.run(agent, question)).final_output

    with model.Model(turn) as stub:
        said = asyncio.run(ask("What is six times seven?"))
        expect("42" in said, said)
        told(stub.asked, "")


def openai_responses(_: Home):
    import openai
    import pydantic
    from openai.types.responses import tool_param

    request = json.loads(configuration("openai-responses.json"))
    # The SDK passes on what it does not know; its own types say what the service does.
    strict = pydantic.create_model("Tool", __config__={"extra": "forbid"}, **fields_of(tool_param.Mcp))
    strict(**request["tools"][0])
    with model.Model(lambda _: model.say("hi")) as stub:
        openai.OpenAI(base_url=stub.url, api_key="none", max_retries=0).responses.create(**request)
        expect(stub.asked == [request], stub.asked)


def fields_of(typed_dict) -> dict:
    """The keys of a typed dictionary, for a model that takes no others."""
    required = typed_dict.__required_keys__
    return {name: (object, ... if name in required else None) for name in typed_dict.__annotations__}


def claude_code(home: Home):
    added = home.run("claude", "mcp", "add", "--transport", "http", "baton", URL, "--header", f"x-ms-apikey: {KEY}")
    expect(added.returncode == 0, added.stderr)
    listed = home.run("claude", "mcp", "list").stdout
    expect("Connected" in listed, listed)
    home.run("claude", "mcp", "remove", "baton")
    file = home.put("project/.mcp.json", configuration("claude-code.mcp.json"))
    with model.Model() as stub:
        home.run("claude", "-p", "hi", "--mcp-config", file, "--strict-mcp-config", ANTHROPIC_BASE_URL=stub.url,
                 ANTHROPIC_API_KEY="none", CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC="1")
        told(stub.asked, "mcp__baton__")


def codex(home: Home):
    with model.Model() as stub:
        provider = f"""model = "stub"\nmodel_provider = "stub"
[model_providers.stub]\nname = "stub"\nbase_url = "{stub.url}/v1"\nwire_api = "responses"
request_max_retries = 0\nstream_max_retries = 0\n"""
        home.put(".codex/config.toml", provider + configuration("codex.toml"))
        home.run("codex", "exec", "--skip-git-repo-check", "hi")
        told(stub.asked, "")


def copilot_cli(home: Home):
    home.put(".copilot/mcp-config.json", configuration("copilot-cli.json"))
    with model.Model() as stub:
        home.run("copilot", "-p", "hi", "--allow-all-tools", COPILOT_OFFLINE="true", COPILOT_MODEL="stub",
                 COPILOT_PROVIDER_BASE_URL=f"{stub.url}/v1", COPILOT_PROVIDER_API_KEY="none")
        told(stub.asked, "baton-")


def claude_desktop(home: Home):
    """The bridge that the file starts, under another host than Claude Desktop."""
    bridge = json.loads(configuration("claude-desktop.json"))["mcpServers"]["baton"]
    words = ["mcp-remote", *bridge["args"][2:]]
    asked = [
        {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
            "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "baton-tests", "version": "1"}}},
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}},
    ]
    environment = {"PATH": os.environ["PATH"], "HOME": str(home.folder), **bridge["env"]}
    with subprocess.Popen(words, cwd=home.project, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True) as process:
        try:
            answers = []
            for message in asked:
                process.stdin.write(json.dumps(message) + "\n")
                process.stdin.flush()
                if "id" in message:
                    answers.append(process.stdout.readline())
            expect(all(tool in answers[-1] for tool in TOOLS), answers)
        finally:
            process.kill()


def every_file(_: Home):
    """Files for hosts that cannot be had here are JSON at least, and name the server."""
    for file in CLIENTS.glob("*.json"):
        json.loads(configuration(file.name))


STANDARD = {"files": every_file, "inspector": inspector, "openai-agents": openai_agents, "openai-responses": openai_responses}
BY_NAME = {"claude-code": claude_code, "codex": codex, "copilot-cli": copilot_cli, "claude-desktop": claude_desktop}


def main() -> int:
    known = {**STANDARD, **BY_NAME}
    failed = 0
    for name in sys.argv[1:] or STANDARD:
        with tempfile.TemporaryDirectory(prefix="baton-hosts-", ignore_cleanup_errors=True) as folder:
            try:
                known[name](Home(folder))
                print(f"ok hosts: {name}", flush=True)
            except Exception as error:  # whatever it is, the others are still tried
                failed += 1
                print(f"FAIL hosts: {name}: {type(error).__name__}: {str(error)[:600]!r}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
