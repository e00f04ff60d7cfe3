#!/usr/bin/env python3
"""Runs a command against a real deployment on this machine: redis-server, gateways, workers, nginx in front.

    tests/topology.py [--gateways 3] [--workers 2] [--api-key KEY] ... -- COMMAND ARG...
    tests/topology.py --dev -- COMMAND ARG...        one `baton dev` instead
    tests/topology.py --fixture NAME -- COMMAND      another MCP server behind the gateways (upstreams.py)
    tests/topology.py                                prints the addresses and stays until it is interrupted

The command finds MCP_URL (through nginx, or the only process), MCP_KEY, MCP_GATEWAYS (each gateway's own URL) and
MCP_REPLICAS (their ids), MCP_UPSTREAMS (NAME=URL) and MCP_JOURNALS (NAME=FILE), comma-separated. Everything is started on free loopback ports, in a folder that goes away at
the end, and stopped by its pid whatever happens. The exit code is the command's; 70 if the deployment did not start,
71 if a Baton process did not end with 0 when told to.
"""

import argparse
import ctypes
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import upstreams

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 20
STOP_SECONDS = 20
LISTENING = re.compile(r"^listening role=(\S+) url=(\S+)$", re.MULTILINE)


class Trouble(Exception):
    pass


class Process:
    """One child with its output in files; it dies with us even if we are killed."""

    def __init__(self, folder: Path, name: str, command: list, env=None):
        self.name, self.out, self.err = name, folder / f"{name}.out", folder / f"{name}.err"
        with open(self.out, "wb") as out, open(self.err, "wb") as err:
            self.child = subprocess.Popen(
                [str(word) for word in command], stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=env,
                start_new_session=True, preexec_fn=die_with_parent,
            )

    def listening(self, role: str) -> str:
        """The URL this process printed for a role."""
        return self.wait_for(lambda: dict(LISTENING.findall(self.out.read_text())).get(role), f"listening role={role}")

    def wait_for(self, answer, what: str):
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if found := answer():
                return found
            if self.child.poll() is not None:
                raise Trouble(f"{self.name} ended with {self.child.returncode} before: {what}")
            time.sleep(0.02)
        raise Trouble(f"{self.name} did not come to it within {START_SECONDS} s: {what}")

    def stop(self) -> int:
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGTERM)
        try:
            return self.child.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.child.kill()
            return self.child.wait()

    def tail(self) -> str:
        lines = (self.out.read_text(errors="replace") + self.err.read_text(errors="replace")).splitlines()
        return "\n".join(f"    {self.name}: {line}" for line in lines[-15:])


def die_with_parent():
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


class Deployment:
    """Starts the parts in order and stops them in the opposite order."""

    def __init__(self, options, folder: Path):
        self.options, self.folder, self.processes = options, folder, []
        self.upstreams = upstreams.Upstreams(options, folder)
        self.url, self.gateways, self.replicas = None, [], []

    def run(self, name: str, command: list, env=None) -> Process:
        process = Process(self.folder, name, command, env)
        self.processes.append(process)
        return process

    def start(self):
        if not os.access(self.options.baton, os.X_OK):
            raise Trouble(f"no binary at {self.options.baton}: cargo build --release")
        self.upstreams.start(self.run, free_port, accepts)
        if self.options.dev:
            self.start_dev()
        else:
            self.start_cluster()
        self.wait_until_it_serves()

    def start_dev(self):
        dev = self.run("dev", [
            self.options.baton, "dev", "--listen", "127.0.0.1:0", "--internal-listen", "127.0.0.1:0",
            "--data-dir", self.folder / "dev", *self.access(), *self.packages(), *self.upstreams.flags(),
        ])
        self.url = dev.listening("gateway")
        self.gateways = [self.url]

    def start_cluster(self):
        redis = self.start_redis()
        signing, root = self.key("signing"), self.key("worker-root")
        internal = []
        for number in range(1, self.options.gateways + 1):
            self.replicas.append(f"gateway-{number}")
            gateway = self.run(f"gateway-{number}", [
                self.options.baton, "gateway", "--listen", "127.0.0.1:0", "--internal-listen", "127.0.0.1:0",
                "--redis", redis, "--signing-key-file", signing, "--worker-root-key-file", root,
                "--replica-id", f"gateway-{number}", "--data-dir", self.folder / f"gateway-{number}",
                *self.access(), *(["--sample-tools"] if self.options.sample_tools else []), *self.upstreams.flags(),
                *self.options.gateway_flag,
            ])
            self.gateways.append(gateway.listening("gateway"))
            internal += ["--gateway", gateway.listening("gateway-internal")]
        for number in range(1, self.options.workers + 1):
            key = self.key("worker", "--root", root, "--id", f"worker-{number}")
            worker = self.run(f"worker-{number}", [
                self.options.baton, "worker", "--listen", "127.0.0.1:0", "--internal-listen", "127.0.0.1:0",
                "--worker-key-file", key, "--data-dir", self.folder / f"worker-{number}", *internal, *self.packages(),
                *self.options.worker_flag,
            ])
            worker.listening("worker-rpc")
        self.url = self.start_nginx() if self.options.nginx else self.gateways[0]

    def start_redis(self) -> str:
        port = free_port()
        redis = self.run("redis", [
            program("redis-server"), "--bind", "127.0.0.1", "--port", port, "--save", "", "--appendonly", "no",
            "--dir", self.folder,
        ])
        redis.wait_for(lambda: accepts(port), "accepting connections")
        return f"redis://127.0.0.1:{port}"

    def start_nginx(self) -> str:
        port = free_port()
        self.folder.chmod(0o711)  # as root nginx's workers are nobody, and keep large bodies below the prefix
        prefix = self.folder / "nginx"
        prefix.mkdir()
        ports = [url.split("/")[2].rsplit(":", 1)[1] for url in self.gateways]
        (prefix / "nginx.conf").write_text(nginx_conf(port, ports))
        nginx = self.run("nginx", [program("nginx"), "-e", "stderr", "-p", prefix, "-c", prefix / "nginx.conf"])
        nginx.wait_for(lambda: accepts(port), "accepting connections")
        return f"http://127.0.0.1:{port}/mcp"

    def key(self, *words) -> Path:
        """A key file, made by the binary itself."""
        path = self.folder / ("-".join(word for word in words if not str(word).startswith(("-", "/"))) + ".key")
        made = subprocess.run([self.options.baton, "key", *words], capture_output=True, text=True, timeout=START_SECONDS)
        if made.returncode != 0:
            raise Trouble(f"baton key {' '.join(map(str, words))}: {made.stderr.strip()}")
        path.touch(mode=0o600)
        path.write_text(made.stdout)
        return path

    def access(self) -> list:
        if self.options.api_key:
            return ["--api-key", self.options.api_key]
        return [] if self.options.dev else ["--anonymous"]

    def packages(self) -> list:
        return ["--python-packages", self.options.python_packages] if self.options.python_packages else []

    def wait_until_it_serves(self):
        """Until each gateway gets an environment from a worker: a listener alone says nothing of heartbeats."""
        if self.options.no_environments:
            return
        for url in self.gateways:
            deadline = time.monotonic() + START_SECONDS
            while not (handle := launched(url, self.options.api_key)):
                if time.monotonic() > deadline:
                    raise Trouble(f"{url} gave no environment within {START_SECONDS} s: {LAST_ANSWER.get(url)}")
                time.sleep(0.1)
            call(url, self.options.api_key, "closeEnvironment", {"environmentId": handle})

    def environment(self) -> dict:
        return {
            "MCP_URL": self.url,
            "MCP_KEY": self.options.api_key or "",
            "MCP_GATEWAYS": ",".join(self.gateways),
            "MCP_REPLICAS": ",".join(self.replicas),
            **self.upstreams.environment(),
        }

    def stop(self) -> bool:
        clean = True
        for process in reversed(self.processes):
            died = process.child.poll()
            code = process.stop()
            ours = process.name not in ("nginx", "redis") and not process.name.startswith("upstream-")
            if code != 0 and ours:
                clean = False
                how = f"had ended with {code} by itself" if died is not None else f"ended with {code} on SIGTERM"
                print(f"topology: {process.name} {how}\n{process.tail()}", file=sys.stderr)
        return clean


LAST_ANSWER = {}


def call(url: str, key, tool: str, arguments: dict) -> dict:
    """One legacy tools/call: the smallest request there is."""
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}}
    headers = {"Content-Type": "application/json", "Accept": "application/json", **({"x-ms-apikey": key} if key else {})}
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=START_SECONDS) as response:
            text = response.read().decode()
        LAST_ANSWER[url] = text
        return json.loads(text)
    except (OSError, ValueError) as error:
        LAST_ANSWER[url] = f"{error} {error.read().decode()}" if isinstance(error, urllib.error.HTTPError) else repr(error)
        return {}


def launched(url: str, key):
    result = call(url, key, "launchShell", {}).get("result", {})
    return None if result.get("isError") else result.get("structuredContent", {}).get("environmentId")


def nginx_conf(port: int, gateway_ports: list) -> str:
    """infra/nginx.conf with other ports, and nothing else changed."""
    lines = []
    servers = list(gateway_ports)
    for line in (ROOT / "infra/nginx.conf").read_text().splitlines():
        if line.strip().startswith("listen "):
            line = re.sub(r":\d+", f":{port}", line)
        if line.strip().startswith("server 127.0.0.1:"):
            lines += [re.sub(r":\d+", f":{server}", line) for server in servers]
            servers = []
            continue
        lines.append(line)
    return "\n".join(lines) + "\n"


def program(name: str) -> str:
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin")
    if not found:
        raise Trouble(f"{name} is missing: tests/install puts it there")
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def parse(words=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--baton", type=Path, default=ROOT / "target/release/baton")
    parser.add_argument("--dev", action="store_true", help="one process instead of a cluster")
    parser.add_argument("--gateways", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--no-nginx", dest="nginx", action="store_false", help="MCP_URL is the first gateway")
    parser.add_argument("--api-key", help="without one: anonymous")
    parser.add_argument("--sample-tools", action="store_true")
    parser.add_argument("--python-packages", type=Path)
    parser.add_argument("--gateway-flag", action="append", default=[], help="passed on; repeatable")
    parser.add_argument("--worker-flag", action="append", default=[], help="passed on; repeatable")
    upstreams.add_options(parser)
    parser.add_argument("--keep-logs", type=Path, help="copies every process's output there")
    parser.add_argument("command", nargs="*", metavar="-- COMMAND")
    return parser.parse_args(words)


def main() -> int:
    options = parse()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="baton-topology-") as folder:
        deployment = Deployment(options, Path(folder))
        code = 70
        try:
            deployment.start()
            if options.command:
                code = subprocess.run(options.command, env={**os.environ, **deployment.environment()}).returncode
            else:
                for name, value in deployment.environment().items():
                    print(f"{name}={value}", flush=True)
                signal.pause()
        except Trouble as trouble:
            print(f"topology: {trouble}", file=sys.stderr)
            print("\n".join(process.tail() for process in deployment.processes), file=sys.stderr)
        except KeyboardInterrupt:
            code = 0
        finally:
            clean = deployment.stop()
            if options.keep_logs:
                options.keep_logs.mkdir(parents=True, exist_ok=True)
                for process in deployment.processes:
                    shutil.copy(process.out, options.keep_logs)
                    shutil.copy(process.err, options.keep_logs)
        return code if code or clean else 71


if __name__ == "__main__":
    sys.exit(main())
