"""What the bench drives and reads: MCP calls, wrk, and the system's own accounting."""

import http.client
import json
import os
import re
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

import topology

REVISION = "2026-07-28"
KEY = "bench-key"
TICKS = os.sysconf("SC_CLK_TCK")
HERE = Path(__file__).resolve().parent
META = {
    "io.modelcontextprotocol/protocolVersion": REVISION,
    "io.modelcontextprotocol/clientInfo": {"name": "baton-bench", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}


class Request:
    """One request of the revision, its headers mirrored from its body."""

    def __init__(self, method: str, tool: str = None, **params):
        params = {"_meta": META, **({"name": tool} if tool else {}), **params}
        self.body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
        self.headers = {
            "Content-Type": "application/json", "Accept": "application/json, text/event-stream",
            "MCP-Protocol-Version": REVISION, "Mcp-Method": method, **({"Mcp-Name": tool} if tool else {}),
            "x-ms-apikey": KEY,
        }


def tool(name: str, **arguments) -> Request:
    return Request("tools/call", name, arguments=arguments)


def python(environment: str, code: str) -> Request:
    return tool("runPythonCodeInRemoteEnvironment", environmentId=environment, pythonCode=code)


def shell(environment: str, command: str) -> Request:
    return tool("runShellCommandInRemoteEnvironment", environmentId=environment, shellCommand=command)


class Client:
    """One kept connection."""

    def __init__(self, url: str):
        # Opened by the first request: one that says nothing for 5 s is closed.
        self.connection = http.client.HTTPConnection(url.split("/")[2], timeout=30)

    def call(self, request: Request):
        """The result, and how many milliseconds it took."""
        began = time.perf_counter()
        self.connection.request("POST", "/mcp", request.body.encode(), request.headers)
        text = self.connection.getresponse().read()
        took = 1e3 * (time.perf_counter() - began)
        try:
            reply = json.loads(text)
        except ValueError:
            raise topology.Trouble(f"{request.headers}: {text.decode(errors='replace')[:500]}") from None
        if "error" in reply or reply["result"].get("isError"):
            raise topology.Trouble(f"{request.headers.get('Mcp-Name')}: {text.decode()[:500]}")
        return reply["result"], took

    def launch(self):
        result, took = self.call(tool("launchShell"))
        return result["structuredContent"]["environmentId"], took


def wrk(url: str, requests: list, connections: int, seconds: int, expect: str = None) -> dict:
    """Sends requests in turn for some seconds. One thread: the other core is for what is measured."""
    with tempfile.TemporaryDirectory(prefix="baton-wrk-") as folder:
        headers, bodies = Path(folder) / "headers", Path(folder) / "bodies"
        headers.write_text("".join(f"{name}: {value}\n" for name, value in requests[0].headers.items()))
        bodies.write_text("".join(request.body + "\n" for request in requests))
        known = {"HEADERS": str(headers), "BODIES": str(bodies), **({"EXPECT": expect} if expect else {})}
        command = [topology.program("wrk"), "-t1", f"-c{connections}", f"-d{seconds}s", "-s", HERE / "post.lua", url]
        done = subprocess.run(command, env={**os.environ, **known}, capture_output=True, text=True, timeout=seconds + 30)
    if done.returncode != 0:
        raise topology.Trouble(f"wrk: {done.stderr.strip()}")
    said = json.loads(done.stdout.strip().splitlines()[-1])
    if said["failed"] or not said["calls"]:
        raise topology.Trouble(f"{requests[0].headers} at {url}: {said}")
    return said


class Accounting:
    """What the system says of one process, and of all below it."""

    def __init__(self, process: topology.Process):
        self.pid, self.process = process.child.pid, process

    def cpu_seconds(self) -> float:
        """Of the process itself and of its direct children: nginx works in those."""
        return sum(cpu_seconds(pid) for pid in [self.pid, *children(self.pid)])

    def own_cpu_seconds(self) -> float:
        return cpu_seconds(self.pid)

    def resident_mb(self) -> float:
        return kilobytes(Path(f"/proc/{self.pid}/status"), "VmRSS") / 1024

    def forget_peak(self):
        for pid in [self.pid, *children(self.pid)]:
            Path(f"/proc/{pid}/clear_refs").write_text("5")

    def peak_mb(self) -> float:
        """The most that it held since that was forgotten, with its direct children."""
        return sum(kilobytes(Path(f"/proc/{pid}/status"), "VmHWM") for pid in [self.pid, *children(self.pid)]) / 1024

    def sandboxes(self) -> int:
        return len(children(self.pid))

    def sandbox_mb(self):
        """The share of memory of each sandbox: launcher, init, interpreter. Nothing where we may not look."""
        try:
            return [sum(kilobytes(Path(f"/proc/{pid}/smaps_rollup"), "Pss") for pid in below(it)) / 1024 for it in children(self.pid)]
        except OSError:
            return []

    def rpc_ms(self, verb: str) -> float:
        """All the time that the worker has spent on one kind of call, by its own metrics."""
        url = self.process.listening("worker-internal")
        with urllib.request.urlopen(f"{url}/metrics", timeout=5) as response:
            text = response.read().decode()
        sums = re.findall(rf'^baton_rpc_duration_seconds_sum\{{[^}}]*verb="{verb}"[^}}]*\}} (\S+)$', text, re.MULTILINE)
        return 1e3 * sum(map(float, sums))


def cpu_seconds(pid: int) -> float:
    # Behind the name, which may hold anything: fields 14 and 15 are user and system time.
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def children(pid: int) -> list:
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += map(int, (task / "children").read_text().split())
    return found


def below(pid: int) -> list:
    return [pid, *(it for child in children(pid) for it in below(child))]


def kilobytes(path: Path, field: str) -> int:
    return int(re.search(rf"^{field}:\s+(\d+) kB", path.read_text(), re.MULTILINE)[1])
