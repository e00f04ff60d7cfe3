#!/usr/bin/env python3
"""The rendered manifests run without a cluster: each pod as a process with its own read-only root, its volumes at their
mountPaths, its uid and no capability (pod.sh), on an address of its own, with the cluster's names in /etc/hosts. Command
lines, ports, paths and names are the manifests', letter for letter, but for one: `0.0.0.0` becomes the pod's address,
because all pods share one loopback here.

    unshare --user --map-root-user --net --pid --fork … node.py FOLDER_OF_OVERLAY API_KEY
"""

import fcntl
import http.client
import json
import re
import socket
import struct
import sys
import tempfile
import threading
import time
from pathlib import Path

from manifests import BATON, container, files_of, find, flag, name, of_kind, pod, port_number, render

from report import Report, expect  # noqa: E402  (the path is set by manifests)
from topology import Process, Trouble  # noqa: E402

SECONDS = 30
HERE = Path(__file__).parent


class Pod:
    """One replica of a workload: what the kubelet would make of the template."""

    def __init__(self, objects: list, workload: dict, its_name: str, address: str, folder: Path):
        self.objects, self.workload, self.name, self.address = objects, workload, its_name, address
        self.folder = folder / its_name
        self.folder.mkdir()
        self.process = None

    def start(self, hosts: Path):
        spec = pod(self.workload)
        environment = {"PATH": "/image:/usr/bin:/bin", **self.environment()}
        words = [*container(self.workload)["command"], *container(self.workload).get("args", [])]
        words = [expanded(word, environment).replace("0.0.0.0", self.address) for word in words]
        root = self.folder / "root"
        root.mkdir(exist_ok=True)
        ids = spec["securityContext"]
        user = [f"--map-user={ids['runAsUser']}", f"--map-group={ids['runAsGroup']}"]
        self.process = Process(self.folder, "out", [
            "unshare", "--user", *user, "--keep-caps", "--mount", HERE / "pod.sh", root, BATON, hosts, *self.mounts(environment),
            "--", "env", "-i", *(f"{key}={value}" for key, value in environment.items()), *words,
        ])

    def environment(self) -> dict:
        fields = {"status.podIP": self.address, "metadata.name": self.name}
        known = {}
        for variable in container(self.workload).get("env", []):
            if "value" in variable:
                known[variable["name"]] = variable["value"]
            elif "fieldRef" in variable["valueFrom"]:
                known[variable["name"]] = fields[variable["valueFrom"]["fieldRef"]["fieldPath"]]
            else:
                key = variable["valueFrom"]["secretKeyRef"]
                secret = files_of(self.objects, {"secret": {"secretName": key["name"]}})
                known[variable["name"]] = secret[key["key"]]
        return known

    def mounts(self, environment: dict) -> list:
        words = []
        for mount in container(self.workload).get("volumeMounts", []):
            place = self.volume(mount["name"]) / expanded(mount.get("subPathExpr", mount.get("subPath", "")), environment)
            expect(place.exists(), f"{self.name}: {mount['name']} has no {place.name}")
            words += [place, mount["mountPath"], "ro" if mount.get("readOnly") else "rw"]
        return words

    def volume(self, wanted: str) -> Path:
        place = self.folder / "volumes" / wanted
        for volume in pod(self.workload).get("volumes", []):
            if volume["name"] == wanted and ("configMap" in volume or "secret" in volume):
                place.mkdir(parents=True, exist_ok=True)
                for key, text in files_of(self.objects, volume).items():
                    (place / key).write_text(text)
                return place
        place.mkdir(parents=True, exist_ok=True)  # an emptyDir, or a claim of the StatefulSet
        return place

    def get(self, probe: str) -> int:
        action = container(self.workload)[probe]["httpGet"]
        return get(self.address, port_number(self.workload, action["port"]), action["path"])[0]


def expanded(text: str, environment: dict) -> str:
    """$(NAME) as Kubernetes writes it; one that is not defined would stay, and stop the start."""
    return re.sub(r"\$\((\w+)\)", lambda found: environment.get(found[1], found[0]), text)


def get(address: str, port: int, path: str) -> tuple:
    connection = http.client.HTTPConnection(address, port, timeout=SECONDS)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    except OSError as error:
        return 0, repr(error)
    finally:
        connection.close()


def call(address: str, key: str, tool: str, arguments: dict) -> tuple:
    """One legacy tools/call by the service's name; who answered, and the structured result. Made again as often as it is told to come back, as where Redis has just begun."""
    deadline = time.monotonic() + SECONDS
    while True:
        replica, message = ask(address, key, tool, arguments)
        result = message.get("result", {})
        if result and not result.get("isError"):
            return replica, result["structuredContent"]
        told = (message.get("error") or {}).get("data") or result.get("structuredContent") or {}
        expect(told.get("retryable") and time.monotonic() < deadline, json.dumps(message))
        time.sleep(told["retryAfterMs"] / 1000)


def ask(address: str, key: str, tool: str, arguments: dict) -> tuple:
    """Who answered, and the message."""
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}}
    headers = {"Host": "baton-gateway:8080", "Content-Type": "application/json", "Accept": "application/json", "x-ms-apikey": key}
    connection = http.client.HTTPConnection(address, 8080, timeout=SECONDS)
    try:
        connection.request("POST", "/mcp", json.dumps(body), headers)
        answer = connection.getresponse()
        text = answer.read().decode()
    finally:
        connection.close()
    expect(answer.status == 200, f"HTTP {answer.status}: {text}")
    return answer.headers["Baton-Replica"], json.loads(text)


def listen(address: str, key: str) -> http.client.HTTPConnection:
    """A stream of subscriptions/listen that has been acknowledged."""
    meta = {"protocolVersion": "2026-07-28", "clientCapabilities": {}, "clientInfo": {"name": "tests", "version": "1"}}
    meta = {f"io.modelcontextprotocol/{name}": value for name, value in meta.items()}
    params = {"notifications": {"toolsListChanged": True}, "_meta": meta}
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "subscriptions/listen", "params": params})
    connection = http.client.HTTPConnection(address, 8080, timeout=SECONDS)
    connection.request("POST", "/mcp", body, {
        "Host": "baton-gateway:8080", "Content-Type": "application/json", "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": "2026-07-28", "Mcp-Method": "subscriptions/listen", "x-ms-apikey": key,
    })
    answer = connection.getresponse()
    expect(answer.status == 200 and b"data:" in (line := answer.readline()) + answer.readline(), f"HTTP {answer.status}: {line}")
    return connection


def until(answer, what: str, it: Pod):
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        if found := answer():
            return found
        if it.process.child.poll() is not None:
            raise Trouble(f"{it.name} ended with {it.process.child.returncode} before: {what}: {it.process.tail()[-300:]}")
        time.sleep(0.05)
    raise Trouble(f"not within {SECONDS} s: {what}")


def loopback_up():
    """SIOCGIFFLAGS, SIOCSIFFLAGS with IFF_UP: a new network namespace has its loopback, but down."""
    with socket.socket() as any_socket:
        request = struct.pack("16sh14x", b"lo", 0)
        flags = struct.unpack("16sh14x", fcntl.ioctl(any_socket, 0x8913, request))[1]
        fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh14x", b"lo", flags | 1))


def names(pods: list) -> str:
    """What the cluster's DNS would say, of each Service and each pod of a StatefulSet."""
    lines = ["127.0.0.1 localhost"]
    for it in pods:
        for service in of_kind(it.objects, "Service"):
            if service["spec"]["selector"].items() <= it.workload["spec"]["template"]["metadata"]["labels"].items():
                lines.append(f"{it.address} {name(service)}")
                if it.workload["spec"].get("serviceName") == name(service):
                    lines.append(f"{it.address} {it.name}.{name(service)}")
    return "\n".join(lines) + "\n"


def main():
    objects, key = render(Path(sys.argv[1])), sys.argv[2]
    report = Report(f"kubernetes, {Path(sys.argv[1]).name} run")
    loopback_up()
    with tempfile.TemporaryDirectory(prefix="baton-node-") as folder:
        folder = Path(folder)
        gateway, worker = find(objects, "Deployment", "baton-gateway"), find(objects, "StatefulSet", "baton-worker")
        redis = Pod(objects, find(objects, "Deployment", "baton-redis"), "baton-redis-0", "127.0.0.10", folder)
        gateways = [Pod(objects, gateway, f"baton-gateway-7d9f-{n}", f"127.0.1.{n}", folder) for n in (1, 2, 3)]
        workers = [Pod(objects, worker, f"baton-worker-{n}", f"127.0.2.{n + 1}", folder) for n in (0, 1)]
        pods = [redis, *gateways, *workers]
        (folder / "hosts").write_text(names(pods))
        try:
            for it in pods:
                it.start(folder / "hosts")
            checks(report, gateways, workers, key)
        except Trouble as trouble:
            with report.check("the pods serve"):
                raise trouble
        finally:
            if report.failed:
                print("\n".join(line for it in pods if it.process for line in it.process.tail().splitlines()[-6:]))
            for it in reversed(pods):
                if it.process:
                    it.process.stop()
    report.exit()


def checks(report: Report, gateways: list, workers: list, key: str):
    with report.check("each probe of each role is answered with 200 by what the rendered command started"):
        for it in [*gateways, *workers]:
            for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                until(lambda: it.get(probe) == 200, f"{probe} of {it.name}", it)

    with report.check("three gateways and two workers serve: an environment from each gateway, its code through the next"):
        replicas, everyone = set(), {it.name for it in gateways}
        for turn, it in enumerate(gateways):
            until(lambda: 'baton_workers{state="serving"} 2' in get(it.address, 8081, "/metrics")[1], f"{it.name} knows both workers", it)
            replica, launched = call(it.address, key, "launchShell", {})
            following = gateways[(turn + 1) % len(gateways)]
            arguments = {"environmentId": launched["environmentId"], "pythonCode": "print(6 * 7)"}
            other, result = call(following.address, key, "runPythonCodeInRemoteEnvironment", arguments)
            expect(result["stdout"] == "42\n", result)
            replicas |= {replica, other}
        expect(replicas == everyone, f"{replicas} answered, not {everyone}")

    with report.check("a worker sees its own key and no other, and no gateway's; a gateway sees no worker's"):
        for it in [*gateways, *workers]:
            seen = Path(f"/proc/{it.process.child.pid}/root/etc/baton")
            found = {str(path.relative_to(seen)) for path in seen.rglob("*") if path.is_file()}
            own = {"worker.key"} if it in workers else {"baton.toml", "keys/signing.key", "keys/worker-root.key"}
            expect(found == own, f"{it.name} sees {found}")
        expect(len({Path(f"/proc/{it.process.child.pid}/root/etc/baton/worker.key").read_text() for it in workers}) == 2, "one key twice")

    with report.check("the autoscalers' metric counts calls in flight, and streams of subscriptions/listen apart"):
        it = gateways[0]
        _, launched = call(it.address, key, "launchShell", {})
        arguments = {"environmentId": launched["environmentId"], "shellCommand": "sleep 2"}
        work = threading.Thread(target=call, args=(it.address, key, "runShellCommandInRemoteEnvironment", arguments))
        work.start()
        until(lambda: in_flight(it) == 1, "one call in flight", it)
        work.join(SECONDS)
        until(lambda: in_flight(it) == 0, "none in flight", it)
        stream = listen(it.address, key)
        until(lambda: in_flight(it, "listen") == 1, "one stream that waits", it)
        expect(in_flight(it) == 0, "a stream that waits counts as a call in flight")
        stream.close()
        until(lambda: in_flight(it, "listen") == 0, "the stream's end", it)

    with report.check("SIGTERM makes each not ready but alive, and all of them end with 0"):
        for it in [*gateways, *workers]:
            it.process.child.terminate()
        for it in [*gateways, *workers]:
            until(lambda: it.get("readinessProbe") == 503 and it.get("livenessProbe") == 200, f"{it.name} drains", it)
        for it in [*workers, *gateways]:
            expect(it.process.child.wait(SECONDS) == 0, f"{it.name} ended with {it.process.child.returncode}\n{it.process.tail()}")


def in_flight(it: Pod, kind: str = "server") -> int:
    text = get(it.address, int(flag(it.workload, "internal-listen").rsplit(":", 1)[1]), "/metrics")[1]
    return int(re.search(rf'^baton_in_flight\{{kind="{kind}"\}} (\d+)$', text, re.MULTILINE)[1])


if __name__ == "__main__":
    main()
