"""Keeps the time of a run: k6 says when the load begins, faults happen at their times after that, and each is written down."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from processes import LOOPBACK

LOOK_SECONDS = 0.1


class Over(Exception):
    """The load ended before its faults did."""


class Conductor:
    """Plays the faults of one run beside its load."""

    def __init__(self, deployment, seconds: float):
        self.deployment, self.seconds = deployment, seconds
        self.began_at, self.load, self.marks, self.verdicts = None, None, [], []
        self.server = ThreadingHTTPServer((LOOPBACK, 0), self.handler())
        self.url = f"http://{LOOPBACK}:{self.server.server_port}"

    def handler(conductor):
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                conductor.began_at = conductor.began_at or time.time()
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_):
                pass  # the marks are the log

        return Handler

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    def play(self, faults, load):
        """In the caller's own thread: children that are started here would end with any other."""
        self.load = load
        try:
            while self.began_at is None:
                self.rest(LOOK_SECONDS)
            faults(self)
        except Over:
            self.judge(False, f"the load had ended by second {self.now():.0f} and not all had happened")

    def rest(self, seconds: float):
        until = time.time() + seconds
        while (left := until - time.time()) > 0:
            if self.load.poll() is not None:
                raise Over
            time.sleep(min(left, LOOK_SECONDS))

    def wait_until(self, seconds: float):
        """Until so long after the load began."""
        self.rest(self.began_at + seconds - time.time())

    def now(self) -> float:
        """Seconds since the load began."""
        return time.time() - self.began_at if self.began_at else 0

    def is_time_left(self, seconds: float) -> bool:
        """Whether the load will go on for so long."""
        return self.now() + seconds < self.seconds

    def mark(self, what: str, kind: str = "fault"):
        """Something happened now. `kind`: `fault`, or `back` for what ends one."""
        self.marks.append({"seconds": round(self.now(), 3), "kind": kind, "what": what})

    def judge(self, holds: bool, sentence: str):
        self.verdicts.append((bool(holds), sentence))

    def write(self, path: Path):
        path.write_text(json.dumps({"began": self.began_at, "events": self.marks}, indent=1))
