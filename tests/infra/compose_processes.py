#!/usr/bin/env python3
"""Every command of infra/compose.yaml as a plain process: the services start with the words, files and environment that
the file gives them, each below a folder that stands for its container, with only addresses and paths exchanged."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "infra/local"), str(ROOT / "tests/clients")]
sys.dont_write_bytecode = True

import yaml  # noqa: E402
from cluster import LAST_ANSWER, call, launched  # noqa: E402
from processes import LOOPBACK, Process, Processes, free_port, program  # noqa: E402
from report import Report, expect  # noqa: E402

INFRA = ROOT / "infra"
BATON = Path(os.environ.get("BATON", ROOT / "target/release/baton"))
# What nobody brings from a package archive; the README says that these are only written.
ABSENT = {"otelcol", "jaeger", "grafana"}
STARTED = ["redis", "sentinel", "gateway", "worker", "nginx", "prometheus"]
# Where an image starts a program that the file does not name.
PROGRAMS = {"prometheus": ["prometheus"]}
DEADLINE_SECONDS = 30


class Containers(Processes):
    """Services as processes: ports are given out on first mention, so that whoever is mentioned is found."""

    def __init__(self, folder: Path, compose: dict):
        super().__init__(folder)
        self.services, self.secrets, self.ports = compose["services"], compose["secrets"], {}
        self.keys = folder / "keys"
        subprocess.run([INFRA / "compose/keys", self.keys], check=True, capture_output=True, env={**os.environ, "BATON": str(BATON)})

    def port(self, service: str, port) -> int:
        return self.ports.setdefault((service, int(port)), free_port())

    def start(self, name: str) -> Process:
        service, root = self.services[name], self.folder / name
        root.mkdir()
        root.chmod(0o711)
        self.furnish(name, root)
        kind = service["image"].rpartition(":")[0].rpartition("/")[2]
        words = [*PROGRAMS.get(kind, []), *service.get("entrypoint", []), *service.get("command", [])]
        words = self.local(name, root, words)
        # What the images bring along, or the engine: where /data is, and a network of one's own.
        env = {"BATON_DATA_DIR": root / "data", "FOLDER": root / "data", "CONFIGURATION": root / "etc/baton"}
        if kind == "redis":
            port = self.port(name, 26379 if name.startswith("sentinel") else 6379)
            words += ["--port", port, "--bind", LOOPBACK, "--dir", root / "data"]
        if kind == "prometheus":
            words += [f"--web.listen-address={LOOPBACK}:{self.port(name, 9090)}"]
        for key, value in service.get("environment", {}).items():
            env[key] = self.local(name, root, [value])[0]
        first = BATON if words[0] == "baton" else program(words[0])
        env = {**os.environ, **{key: str(value) for key, value in env.items()}}
        return self.run(name, [first, *words[1:]], env, drains=kind == "baton")

    def named(self, name: str) -> Process:
        return next(process for process in self.processes if process.name == name)

    def furnish(self, name: str, root: Path):
        """Mounts, as copies: addresses in files are exchanged too."""
        service = self.services[name]
        for volume in service.get("volumes", []):
            source, target = volume.split(":")[:2]
            if source.startswith("."):
                copy(INFRA / source, root / target.lstrip("/"))
            else:
                (root / target.lstrip("/")).mkdir(parents=True, exist_ok=True)
        for folder in service.get("tmpfs", []):
            (root / folder.lstrip("/")).mkdir(exist_ok=True)
            (root / folder.lstrip("/")).chmod(0o711)
        for secret in service.get("secrets", []):
            secret = secret if isinstance(secret, dict) else {"source": secret, "target": secret}
            copy(self.keys / Path(self.secrets[secret["source"]]["file"]).name, root / "run/secrets" / secret["target"])
        for path in root.rglob("*"):
            if path.suffix in (".conf", ".yml") and path.is_file():
                text = re.sub(r"^listen (\d+);", r"listen 0.0.0.0:\1;", path.read_text(), flags=re.MULTILINE)
                path.write_text(self.addressed(name, text))

    def local(self, name: str, root: Path, words: list) -> list:
        """A command's words on this machine: `HOST PORT`, `HOST:PORT`, a bare host, and paths of the container."""
        found, words = [], list(words)
        for at, word in enumerate(words):
            before = words[at - 1] if at else None
            if before in self.services and word.isdigit():
                word = str(self.port(before, word))
            elif at and word in self.services:  # the first word is a program
                word = LOOPBACK
            word = self.addressed(name, word)
            found.append(re.sub(r"(^|=)(/(?:etc|run|data|tmp|prometheus)(?:/|$))", rf"\g<1>{root}\g<2>", word))
        return found

    def addressed(self, name: str, text: str) -> str:
        text = re.sub(rf"(0\.0\.0\.0|{re.escape(LOOPBACK)}):(\d+)", lambda it: f"{LOOPBACK}:{self.port(name, it[2])}", text)
        others = "|".join(map(re.escape, self.services))
        return re.sub(rf"(?<![\w-])({others}):(\d+)", lambda it: f"{LOOPBACK}:{self.port(it[1], it[2])}", text)

    def healthy(self, name: str) -> bool:
        """The file's own question, where its program is here."""
        words = self.services[name]["healthcheck"]["test"][1:]
        if words[0] == "redis-cli" and "-p" not in words:
            words = ["redis-cli", "-p", "6379", *words[1:]]
        words = [str(self.port(name, word)) if before == "-p" else word for before, word in zip([None, *words], words)]
        words = self.local(name, self.folder, words)
        if words[0] == "wget":
            try:
                return urllib.request.urlopen(words[-1], timeout=2).status == 200
            except OSError:
                return False
        return subprocess.run(words, capture_output=True, timeout=10).returncode == 0


def copy(source: Path, target: Path):
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)
    target.chmod(0o755 if target.is_dir() else 0o644)


def until(what: str, answer):
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not (found := answer()):
        expect(time.monotonic() < deadline, f"not within {DEADLINE_SECONDS} s: {what}")
        time.sleep(0.1)
    return found


def main():
    report = Report("compose_processes")
    compose = yaml.safe_load((INFRA / "compose.yaml").read_text())
    with tempfile.TemporaryDirectory(prefix="baton-compose-") as folder:
        Path(folder).chmod(0o711)
        containers = Containers(Path(folder), compose)
        try:
            check(report, containers)
        finally:
            with report.check("Baton's own end with 0 when they are told to"):
                wrong = containers.stop()
                expect(not wrong, "\n".join(wrong))
    report.exit()


def check(report: Report, containers: Containers):
    for name in sorted(set(containers.services) - ABSENT, key=order):
        with report.check(f"{name} starts, and its health check says so"):
            process = containers.start(name)
            process.wait_for(lambda: containers.healthy(name), "healthy")

    def redis(name, port, *words):
        return subprocess.run(["redis-cli", "-p", str(containers.port(name, port)), *words], capture_output=True, text=True, timeout=10).stdout

    with report.check("Redis has two replicas, forgets nothing when it is full, and needs one that follows"):
        until("two replicas", lambda: "connected_slaves:2" in redis("redis-1", 6379, "info", "replication"))
        for setting, value in [("maxmemory-policy", "noeviction"), ("min-replicas-to-write", "1"), ("appendonly", "no")]:
            found = redis("redis-1", 6379, "config", "get", setting).split()
            expect(found == [setting, value], found)
    with report.check("the Sentinels know each other and agree"):
        until("a quorum", lambda: redis("sentinel-1", 26379, "sentinel", "ckquorum", "baton").startswith("OK 3 usable"))
    url, key = f"http://{LOOPBACK}:{containers.port('nginx', 8080)}/mcp", (containers.keys / "api.key").read_text().strip()
    with report.check("code runs in an environment, through nginx and every replica"):
        handle = until("an environment", lambda: launched(url, key))
        replicas = set()
        for _ in range(6):
            result = call(url, key, "runPythonCodeInRemoteEnvironment", {"environmentId": handle, "pythonCode": "print(41 + 1)"})["result"]
            expect(result["structuredContent"]["stdout"] == "42\n", result)
            replicas.add(result["_meta"]["dev.baton/servedBy"])
        expect(replicas == {"gateway-1", "gateway-2", "gateway-3"}, replicas)
    with report.check("a caller without the key is refused"):
        expect(not call(url, "btk_wrong", "launchShell", {}) and "401" in LAST_ANSWER[url], LAST_ANSWER[url])
    with report.check("when the master of Redis dies, the gateways follow the Sentinels to another and new environments go on"):
        containers.named("redis-1").child.kill()
        until("an environment without redis-1", lambda: launched(url, key))
    with report.check("Prometheus finds all of them"):
        targets = f"http://{LOOPBACK}:{containers.port('prometheus', 9090)}/api/v1/targets"
        until("five targets up", lambda: urllib.request.urlopen(targets, timeout=5).read().count(b'"health":"up"') == 5)


def order(name: str) -> tuple:
    """The dependencies of the file, made a line."""
    return STARTED.index(re.sub(r"-\d$", "", name)), name


main()
