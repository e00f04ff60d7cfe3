"""Child processes that end with us, whatever happens, and what it takes to start one: a program, a free port."""

import ctypes
import itertools
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from urllib.parse import urlsplit

START_SECONDS = 20
STOP_SECONDS = 20
LISTENING = re.compile(r"^listening role=(\S+) url=(\S+)$", re.MULTILINE)
LOOPBACK = "127.0.0.1"


class Trouble(Exception):
    """What keeps a deployment from starting, told to whoever asked for it."""


class Process:
    """One child with its output in files; it dies with us even if we are killed.

    One that `drains` takes its time after SIGTERM and has to end with 0.
    """

    def __init__(self, folder: Path, name: str, command: list, env=None, drains=False):
        self.name, self.out, self.err, self.drains = name, folder / f"{name}.out", folder / f"{name}.err", drains
        self.command, self.env, self.port = [str(word) for word in command], env, None
        self.start("wb")

    def start(self, mode: str):
        self.told = False
        with open(self.out, mode) as out, open(self.err, mode) as err:
            self.child = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=self.env,
                start_new_session=True, preexec_fn=die_with_parent,
            )

    def kill(self):
        """As a machine that loses power: it gets no say."""
        self.child.kill()
        self.child.wait()

    def restart(self):
        """The same again, after it has ended, at the addresses that it had; its output goes on in the same files."""
        had = dict(LISTENING.findall(self.out.read_text()))
        for role, url in had.items():
            flag = "--internal-listen" if role.endswith("-internal") else "--listen"
            self.command[self.command.index(flag) + 1] = urlsplit(url).netloc
        self.start("ab")

    def listening(self, role: str) -> str:
        """The URL this process printed for a role."""
        return self.wait_for(lambda: dict(LISTENING.findall(self.out.read_text())).get(role), f"listening role={role}")

    def wait_until_accepting(self, port: int):
        self.port = port
        self.wait_for(lambda: accepts(port), f"accepting connections on {port}")

    def wait_for(self, answer, what: str):
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if found := answer():
                return found
            if self.child.poll() is not None:
                raise Trouble(f"{self.name} ended with {self.child.returncode} before: {what}")
            time.sleep(0.02)
        raise Trouble(f"{self.name} did not come to it within {START_SECONDS} s: {what}")

    def terminate(self):
        """Tells it once: a second signal would make ours leave with work in hand."""
        if not self.told and self.child.poll() is None:
            self.child.send_signal(signal.SIGTERM)
        self.told = True

    def stop(self) -> int:
        self.terminate()
        try:
            return self.child.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.child.kill()
            return self.child.wait()

    def tail(self) -> str:
        lines = (self.out.read_text(errors="replace") + self.err.read_text(errors="replace")).splitlines()
        return "\n".join(f"    {self.name}: {line}" for line in lines[-15:])


class Processes:
    """Starts children in order and stops them in the opposite order."""

    def __init__(self, folder: Path):
        self.folder, self.logs, self.processes = folder, folder / "logs", []

    def run(self, name: str, command: list, env=None, drains=False) -> Process:
        self.logs.mkdir(exist_ok=True)
        process = Process(self.logs, name, command, env, drains)
        self.processes.append(process)
        return process

    def stop(self) -> list:
        """What draining children did wrong, one line each. Those beside one another drain together."""
        wrong = []
        for drains, group in itertools.groupby(reversed(self.processes), lambda process: process.drains):
            group = list(group)
            died = [process for process in group if process.child.poll() is not None]
            if drains:
                for process in group:
                    process.terminate()
            for process in group:
                if (code := process.stop()) != 0 and drains:
                    how = f"had ended with {code} by itself" if process in died else f"ended with {code} on SIGTERM"
                    wrong.append(f"{process.name} {how}\n{process.tail()}")
        return wrong

    def tails(self) -> str:
        """What those said last that are gone; of all, if none is."""
        gone = [process for process in self.processes if process.child.poll() is not None]
        return "\n".join(process.tail() for process in gone or self.processes)


def die_with_parent():
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


def find_program(*names: str):
    """The first of these programs that is installed; nginx and others may stand where only root looks."""
    path = os.environ.get("PATH", "") + ":/usr/sbin"
    return next((found for name in names if (found := shutil.which(name, path=path))), None)


def program(name: str) -> str:
    if not (found := find_program(name)):
        raise Trouble(f"{name} is missing: tests/install puts it there")
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return probe.getsockname()[1]


def accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((LOOPBACK, port)) == 0
