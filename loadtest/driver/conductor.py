"""Keeps the time of a run: k6 says when the load begins, faults happen at their times after that, and each is written down."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from processes import LOOPBACK

END_SECONDS = 60


class Conductor:
    """Runs `faults(self)` beside the load; what it raises is the run's failure."""

    def __init__(self, faults, deployment, seconds: float):
        self.deployment, self.seconds, self.faults = deployment, seconds, faults
        self.begun, self.stopping = threading.Event(), threading.Event()
        self.began_at, self.marks, self.verdicts, self.wrong = None, [], [], None
        self.server = ThreadingHTTPServer((LOOPBACK, 0), self.handler())
        self.url = f"http://{LOOPBACK}:{self.server.server_port}"
        self.threads = [threading.Thread(target=it, daemon=True) for it in (self.server.serve_forever, self.play)]

    def handler(conductor):
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                conductor.began_at = conductor.began_at or time.time()
                conductor.begun.set()
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_):
                pass  # the marks are the log

        return Handler

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        self.begun.set()
        self.threads[1].join(END_SECONDS)
        self.server.shutdown()
        self.server.server_close()

    def play(self):
        self.begun.wait()
        if self.stopping.is_set():
            return
        try:
            self.faults(self)
        except Exception as error:
            self.wrong = error

    def wait_until(self, seconds: float):
        """Until so long after the load began."""
        self.stopping.wait(max(0, self.began_at + seconds - time.time()))

    def now(self) -> float:
        """Seconds since the load began."""
        return time.time() - self.began_at

    def is_time_left(self, seconds: float) -> bool:
        """Whether the load will go on for so long."""
        return not self.stopping.is_set() and self.now() + seconds < self.seconds

    def mark(self, what: str, kind: str = "fault"):
        """Something happened now. `kind`: `fault`, or `back` for what ends one."""
        self.marks.append({"seconds": round(self.now(), 3), "kind": kind, "what": what})

    def judge(self, holds: bool, sentence: str):
        self.verdicts.append((bool(holds), sentence))

    def write(self, path: Path):
        path.write_text(json.dumps({"began": self.began_at, "events": self.marks}, indent=1))
