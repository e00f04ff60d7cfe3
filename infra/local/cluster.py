"""Baton's own part of a deployment: keys, gateways, workers, and whether they serve."""

import json
import os
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

from processes import LOOPBACK, START_SECONDS, Process, Processes, Trouble


class Cluster(Processes):
    """Gateways and workers of one binary, with their keys and data in one folder."""

    def __init__(self, folder: Path, baton: Path):
        super().__init__(folder)
        self.baton, self.gateways, self.replicas, self.internal, self.workers = baton, [], [], [], []

    def run_baton(self, name: str, role: str, flags: list) -> Process:
        """One process of ours on free ports; it must end with 0 when it is told to."""
        if not os.access(self.baton, os.X_OK):
            raise Trouble(f"no binary at {self.baton}: cargo build --release")
        listeners = ["--listen", f"{LOOPBACK}:0", "--internal-listen", f"{LOOPBACK}:0"]
        return self.run(name, [self.baton, role, *listeners, "--data-dir", self.folder / name, *flags], drains=True)

    def start_gateways(self, count: int, redis: str, flags: list):
        """So many more, numbered on."""
        keys = ["--signing-key-file", self.key("signing"), "--worker-root-key-file", self.key("worker-root")]
        for number in range(len(self.gateways) + 1, len(self.gateways) + count + 1):
            name = f"gateway-{number}"
            gateway = self.run_baton(name, "gateway", ["--redis", redis, *keys, "--replica-id", name, *flags])
            self.replicas.append(name)
            self.gateways.append(gateway.listening("gateway"))
            self.internal.append(gateway.listening("gateway-internal"))

    def start_workers(self, count: int, flags: list):
        """So many more, numbered on."""
        reports = [word for url in self.internal for word in ("--gateway", url)]
        for number in range(len(self.workers) + 1, len(self.workers) + count + 1):
            key = self.key("worker", "--root", self.key("worker-root"), "--id", f"worker-{number}")
            worker = self.run_baton(f"worker-{number}", "worker", ["--worker-key-file", key, *reports, *flags])
            worker.listening("worker-rpc")
            self.workers.append(worker.listening("worker-internal"))

    def key(self, *words) -> Path:
        """A key file, made once, by the binary itself."""
        path = self.folder / ("-".join(word for word in words if not str(word).startswith(("-", "/"))) + ".key")
        if not path.exists():
            write_secret(path, self.printed("key", *words))
        return path

    def printed(self, *words) -> str:
        made = subprocess.run([self.baton, *words], capture_output=True, text=True, timeout=START_SECONDS)
        if made.returncode != 0:
            raise Trouble(f"baton {' '.join(map(str, words))}: {made.stderr.strip()}")
        return made.stdout

    def wait_until_each_serves(self, key):
        """Until each gateway gets an environment from a worker: a listener alone says nothing of heartbeats."""
        for url in self.gateways:
            deadline = time.monotonic() + START_SECONDS
            while not (handle := launched(url, key)):
                if time.monotonic() > deadline:
                    raise Trouble(f"{url} gave no environment within {START_SECONDS} s: {LAST_ANSWER.get(url)}")
                time.sleep(0.1)
            call(url, key, "closeEnvironment", {"environmentId": handle})


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


def write_secret(path: Path, text: str):
    """All of it or nothing: half a key would be taken for one at the next start."""
    unfinished = path.with_suffix(".new")
    unfinished.unlink(missing_ok=True)
    unfinished.touch(mode=0o600)
    unfinished.write_text(text)
    unfinished.rename(path)
