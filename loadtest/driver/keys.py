"""Keys in rotation: which files each process is started with at which step."""

import base64
import hashlib
from pathlib import Path

from cluster import write_secret
from processes import Process


class Rotation:
    """From the keys that a deployment was started with to new ones. Each method changes what one process is started with."""

    def __init__(self, deployment):
        self.deployment = deployment
        self.old = {"--signing-key-file": deployment.key("signing"), "--worker-root-key-file": deployment.key("worker-root")}
        self.new = {flag: self.made_beside(old) for flag, old in self.old.items()}

    def new_second(self, gateway: Process):
        for flag, old in self.old.items():
            exchange(gateway, flag, [old, self.new[flag]])

    def new_first(self, gateway: Process):
        for flag, old in self.old.items():
            exchange(gateway, flag, [self.new[flag], old])

    def old_gone(self, gateway: Process):
        for flag, new in self.new.items():
            exchange(gateway, flag, [new])

    def workers_new(self, worker: Process):
        key = self.worker_key(worker.name, self.new["--worker-root-key-file"], "new")
        exchange(worker, "--worker-key-file", [key])

    def start_worker_of_old_root(self):
        """One that nobody may take in any more."""
        key = self.worker_key("worker-9", self.old["--worker-root-key-file"], "old")
        reports = [word for url in self.deployment.internal for word in ("--gateway", url)]
        stranger = self.deployment.run_baton("worker-9", "worker", ["--worker-key-file", key, *reports])
        stranger.listening("worker-rpc")

    def worker_key(self, worker_id: str, root: Path, age: str) -> Path:
        return self.made(f"{worker_id}-{age}.key", "worker", "--root", root, "--id", worker_id)

    def made_beside(self, old: Path) -> Path:
        """A new key with another id than the old one's: one byte tells keys apart, and two that share it stop the start."""
        new = old.with_name(f"{old.stem}-2.key")
        while True:
            write_secret(new, self.deployment.printed("key", old.stem))
            if key_id(new) != key_id(old):
                return new

    def made(self, name: str, *words) -> Path:
        path = self.deployment.folder / name
        write_secret(path, self.deployment.printed("key", *words))
        return path


def key_id(path: Path) -> int:
    return hashlib.sha256(b"baton-kid" + base64.b64decode(path.read_text())).digest()[0]


def exchange(process: Process, flag: str, values: list):
    """Has it start with these values of a repeatable flag instead of those it had."""
    while flag in process.command:
        place = process.command.index(flag)
        del process.command[place:place + 2]
    for value in values:
        process.command += [flag, str(value)]
