#!/usr/bin/env python3
"""The samples of infra/foundry, unchanged, with the real azure-ai-projects package against a stub of the service that
really calls the deployment: the connection is the one that connection.sh makes."""

import json
import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
SAMPLES = ROOT / "infra/foundry"
sys.path.insert(0, str(ROOT / "tests/clients"))
import stub  # noqa: E402
from report import Report, expect  # noqa: E402
from service import Connection  # noqa: E402

KEY_HEADER = "x-ms-apikey"
ANSWER = "The answer is 338350."
SAMPLE_SECONDS = 60
# It does what `az rest` does with these arguments, except for asking Azure: it keeps the call and answers with an id.
AZ = """#!/bin/sh
printf '%s\\n' "$@" > "$AZ_CALL.arguments"
[ "$*" != "${*%--body @-*}" ] && cat > "$AZ_CALL.body"
echo /subscriptions/s/connections/baton
"""


def main():
    report = Report("samples")
    url, key = os.environ["MCP_URL"], os.environ["MCP_KEY"]
    with tempfile.TemporaryDirectory(prefix="baton-foundry-") as folder:
        folder = Path(folder)
        connection = Connection(url, {KEY_HEADER: key})
        with report.check("connection.sh sends exactly the connection the service asks for, and no key on a command line"):
            connection = connect(folder, url, key)
        project = stub.Project({"/subscriptions/s/connections/baton": connection, "baton": connection})
        server, endpoint, certificate = stub.serve(project, folder)
        env = {
            **os.environ,
            "FOUNDRY_PROJECT_ENDPOINT": endpoint,
            "FOUNDRY_MODEL_DEPLOYMENT_NAME": "scripted",
            "MCP_SERVER_URL": "https://pool.example/mcp",
            "MCP_PROJECT_CONNECTION_ID": "/subscriptions/s/connections/baton",
            "REQUESTS_CA_BUNDLE": str(certificate),
            "SSL_CERT_FILE": str(certificate),
            "STUB_TOKEN": stub.TOKEN,
        }
        with report.check("agent.py creates its agent, approves each call, prints the answer and cleans up"):
            agent(project, env)
        with report.check("agent.py cleans up behind a failure too"):
            failed = run(SAMPLES / "agent.py", {**env, "MCP_PROJECT_CONNECTION_ID": "none"})
            expect(failed.returncode != 0 and "no connection none" in failed.stderr, failed.stderr[-500:])
            expect(project.deleted[-1] == "baton-agent" and not project.agents, project.deleted)
        with report.check("the code interpreter of a session pool runs on Baton with one line changed"):
            interpreter(project, env, folder)
        server.shutdown()
    report.exit()


def connect(folder: Path, url: str, key: str) -> Connection:
    az = folder / "az"
    az.write_text(AZ)
    az.chmod(az.stat().st_mode | stat.S_IXUSR)
    env = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "AZ_CALL": str(folder / "call")}
    words = [SAMPLES / "connection.sh", "sub", "group", "account", "project"]
    made = subprocess.run(words, env={**env, "BATON_MCP_URL": url, "BATON_API_KEY": key}, capture_output=True, text=True, timeout=20)
    expect(made.returncode == 0 and made.stdout == "/subscriptions/s/connections/baton\n", made.stderr)
    arguments = (folder / "call.arguments").read_text().splitlines()
    project = "/subscriptions/sub/resourceGroups/group/providers/Microsoft.CognitiveServices/accounts/account/projects/project"
    at = f"https://management.azure.com{project}/connections/baton?api-version=2025-10-01-preview"
    expect(arguments[:6] == ["rest", "--method", "put", "--url", at, "--body"], arguments)
    expect(not any(key in argument for argument in arguments), "the key stands on a command line")
    body = json.loads((folder / "call.body").read_text())
    wanted = {"authType": "CustomKeys", "category": "RemoteTool", "target": url, "credentials": {"keys": {KEY_HEADER: key}}}
    expect(body == {"properties": wanted}, body)
    return Connection.of(body["properties"])


def run(sample: Path, env: dict):
    words = [sys.executable, Path(__file__).parent / "signed_in.py", sample]
    return subprocess.run(words, env=env, capture_output=True, text=True, timeout=SAMPLE_SECONDS)


def agent(project: stub.Project, env: dict):
    done = run(SAMPLES / "agent.py", env)
    expect(done.returncode == 0, done.stderr[-800:])
    lines = done.stdout.splitlines()
    expect(lines[0] == "agent baton-agent, version 1" and lines[-1] == ANSWER, done.stdout)
    called = ["launchShell", "runPythonCodeInRemoteEnvironment", "closeEnvironment"]
    named = "whoami" in project.calls
    expect(project.calls == (["whoami"] if named else []) + called, project.calls)
    expect([line.split()[1] for line in lines if line.startswith("approving ")] == project.calls, done.stdout)
    expect(named == any(f"(replica {project.replicas[0]})" in line for line in lines), done.stdout)
    expect(project.deleted == ["baton-agent"] and not project.agents, project.agents)
    replicas = os.environ["MCP_REPLICAS"].split(",")
    expect(len(set(project.replicas)) == min(len(replicas), len(called)), project.replicas)


def interpreter(project: stub.Project, env: dict, folder: Path):
    sample, diff = SAMPLES / "code_interpreter.py", SAMPLES / "code-interpreter.diff"
    changed = [line for line in diff.read_text().splitlines() if line[:1] in "+-" and line[:3] not in ("+++", "---")]
    expect(len(changed) == 2 and all("project_connection_id=" in line for line in changed), changed)
    before = run(sample, env)
    expect(before.returncode != 0 and "no connection session-pool" in before.stderr, before.stderr[-500:])
    (folder / "infra/foundry").mkdir(parents=True)
    (folder / "infra/foundry" / sample.name).write_text(sample.read_text())
    outside = {**env, "GIT_CEILING_DIRECTORIES": str(folder.parent)}
    subprocess.run(["git", "apply", diff], cwd=folder, env=outside, check=True, capture_output=True, timeout=20)
    project.calls.clear()
    after = run(folder / "infra/foundry" / sample.name, env)
    expect(after.returncode == 0 and after.stdout.splitlines()[-1] == ANSWER, after.stderr[-800:])
    expect("runPythonCodeInRemoteEnvironment" in project.calls and not project.agents, project.calls)


main()
