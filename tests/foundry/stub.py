"""A project of Azure AI Foundry on this machine: agents, responses and approvals as the service's clients see them, and
behind them a model that follows a script and really calls the MCP server, with the headers of the project's connection."""

import json
import ssl
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import handshake
import schema_rules
from service import Service

PROJECT = "/api/projects/tests"
TOKEN = "a token for tests"
CODE = "sum(n * n for n in range(1, 101))"
LEGACY = "2025-06-18"


class Project:
    """What the service keeps: connections by name, agents, and responses under way."""

    def __init__(self, connections: dict):
        self.connections = connections
        self.agents, self.turns, self.deleted = {}, {}, []
        self.calls, self.replicas = [], []

    def create_version(self, name: str, asked: dict) -> dict:
        self.agents[name] = asked["definition"]
        return {
            "object": "agent.version", "id": f"{name}:1", "name": name, "version": "1", "metadata": {},
            "created_at": 1_790_000_000, "definition": asked["definition"], "status": "active",
        }

    def delete_version(self, name: str, version: str) -> dict:
        del self.agents[name]
        self.deleted.append(name)
        return {"object": "agent.version.deleted", "name": name, "version": version, "deleted": True}

    def respond(self, asked: dict) -> dict:
        reference = asked["agent_reference"]
        if reference["type"] != "agent_reference":
            raise Refused(f"no agent reference: {reference}")
        if previous := asked.get("previous_response_id"):
            turn = self.turns.pop(previous)
            approved = {item["approval_request_id"]: item["approve"] for item in asked["input"]}
        else:
            turn, approved = Turn(self, self.agents[reference["name"]]), {}
        output = turn.go_on(approved)
        response = f"resp_{len(self.turns)}_{turn.number}"
        self.turns[response] = turn
        return {
            "id": response, "object": "response", "created_at": 1_790_000_000, "status": "completed", "model": "scripted",
            "output": output, "parallel_tool_calls": True, "tool_choice": "auto", "tools": [],
        }


class Refused(Exception):
    """What the service answers with a 400."""


class Turn:
    """One question on its way to its answer: the model's script, and the tool it calls."""

    def __init__(self, project: Project, definition: dict):
        (tool,) = definition["tools"]
        if tool["type"] != "mcp" or not definition["model"]:
            raise Refused(f"not the tool or the model of the samples: {definition}")
        connection = project.connections.get(tool["project_connection_id"])
        if connection is None:
            raise Refused(f"no connection {tool['project_connection_id']}")
        self.project, self.label = project, tool["server_label"]
        self.asks_first = tool.get("require_approval", "always") == "always"
        self.service = Service(connection, tool["server_url"], version=LEGACY)
        self.number, self.environment, self.answer = 0, None, None
        self.steps = None

    def go_on(self, approved: dict) -> list:
        """Calls tools until one needs an approval or the script ends."""
        output = []
        if self.steps is None:
            output.append(self.list_tools())
        while self.steps:
            name, request = self.steps[0], f"mcpr_{self.number}"
            if self.asks_first and request not in approved:
                return [*output, self.item(request, "mcp_approval_request", name)]
            if self.asks_first and not approved[request]:
                raise Refused(f"{name} was not approved")
            self.steps.pop(0)
            output.append(self.call(name))
            self.number += 1
        said = {"type": "output_text", "text": f"The answer is {self.answer}.", "annotations": []}
        return [*output, {"id": "msg_0", "type": "message", "role": "assistant", "status": "completed", "content": [said]}]

    def list_tools(self) -> dict:
        handshake.connect(self.service, LEGACY)
        tools = self.service.ask("tools/list").result["tools"]
        if broken := schema_rules.broken_by(tools):
            raise Refused(f"Invalid tool schema: {broken}")
        names = [tool["name"] for tool in tools]
        self.steps = [*(["whoami"] if "whoami" in names else []), "launchShell", "runPythonCodeInRemoteEnvironment", "closeEnvironment"]
        listed = [{"name": tool["name"], "description": tool["description"], "input_schema": tool["inputSchema"]} for tool in tools]
        return {"id": "mcpl_0", "type": "mcp_list_tools", "server_label": self.label, "tools": listed}

    def arguments(self, name: str) -> dict:
        if name in ("whoami", "launchShell"):
            return {}
        code = {"pythonCode": CODE} if name.startswith("runPython") else {}
        return {"environmentId": self.environment, **code}

    def item(self, id_: str, kind: str, name: str) -> dict:
        return {"id": id_, "type": kind, "server_label": self.label, "name": name, "arguments": json.dumps(self.arguments(name))}

    def call(self, name: str) -> dict:
        item = self.item(f"mcp_{self.number}", "mcp_call", name)
        answer = self.service.call(name, self.arguments(name))
        structured = answer.result.get("structuredContent", {})
        self.environment = structured.get("environmentId", self.environment)
        self.answer = structured.get("executionResult", self.answer)
        self.project.calls.append(name)
        self.project.replicas.append(answer.replica)
        return {**item, "output": answer.text, "error": None, "status": "completed"}


def handler(project: Project):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self.answer(lambda path: self.post(path, asked))

        def do_DELETE(self):
            self.answer(self.delete)

        def post(self, path: list, asked: dict):
            match path:
                case ["agents", name, "versions"]:
                    return project.create_version(name, asked)
                case ["openai", "v1", "responses"]:
                    return project.respond(asked)

        def delete(self, path: list):
            match path:
                case ["agents", name, "versions", version]:
                    return project.delete_version(name, version)

        def answer(self, do):
            path = urlsplit(self.path).path
            if self.headers["Authorization"] != f"Bearer {TOKEN}":
                return self.say(401, {"error": {"code": "401", "message": "no token of this project"}})
            if not path.startswith(PROJECT + "/"):
                return self.say(404, {"error": {"code": "404", "message": path}})
            try:
                said = do(path.removeprefix(PROJECT + "/").split("/"))
            except Exception as error:  # the client is told whatever it was, as the service tells it
                return self.say(400, {"error": {"code": "400", "message": f"{type(error).__name__}: {error}"}})
            return self.say(200 if said else 404, said or {"error": {"code": "404", "message": path}})

        def say(self, status: int, message: dict):
            body = json.dumps(message).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    return Handler


def serve(project: Project, folder: Path) -> tuple:
    """The server, with the endpoint and the certificate its clients need: they send tokens over TLS alone."""
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-keyout", key, "-out", certificate]
    subprocess.run([*words, *names], check=True, capture_output=True, timeout=30)
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(project))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server, f"https://localhost:{server.server_port}{PROJECT}", certificate
