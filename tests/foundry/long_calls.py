"""Calls longer than the service waits for a byte. Where it takes a stream, the head and keep-alives come early and the
result in the last event; where it takes JSON alone it gives up, and the call runs to its end or its deadline."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

from report import expect
from service import CURL, JSON_ONLY, STREAMS, Aborted, Service

# streamable-http, "Receiving Messages": this deployment opens a stream after 2 s, and says every 15 s that it lives.
OPENS_WITHIN_SECONDS = 2.9
KEEP_ALIVE_SECONDS = 15
LONGER = 2


def check(report, service: Service, beside: "Beside"):
    """All at once, each in an environment of its own."""
    with ThreadPoolExecutor() as pool:
        for what, ends in ways(service):
            pool.submit(judge, report, what, ends)
    with report.check("a silent stream says every 15 s that it lives, and nothing else"):
        beside.judge()


def judge(report, what: str, ends):
    with report.check(what):
        ends()


def ways(service: Service) -> list:
    json_only, curl = service.but(accept=JSON_ONLY), service.but(accept=CURL)
    given_up = "a long call is given up, runs to its end, and its environment goes on"
    return [
        ("where it takes a stream, a long call answers at once and ends in its result", lambda: streams(service.but())),
        ("an answer in time is one JSON object, though a stream was welcome", lambda: is_in_time(service.but())),
        (f"with Accept {JSON_ONLY} {given_up}", lambda: is_given_up(json_only)),
        (f"with Accept {CURL} {given_up}", lambda: is_given_up(curl)),
        ("a call that was given up runs no longer than its deadline", lambda: ends_at_its_deadline(json_only.but())),
        ("a stream that its client leaves runs to its end, and its environment goes on", lambda: is_left(service.but())),
    ]


def is_in_time(service: Service):
    with service.environment() as environment:
        answer = service.python(environment, "print(6 * 7)")
        expect(answer.media_type == JSON_ONLY and answer.result["structuredContent"]["stdout"] == "42\n", answer.message)


def streams(service: Service):
    with service.environment() as environment:
        seconds = service.no_byte_seconds + LONGER
        answer = service.python(environment, f"import time; time.sleep({seconds}); print('done')")
        expect(answer.is_stream and answer.first_byte_seconds < OPENS_WITHIN_SECONDS, answer.first_byte_seconds)
        expect(answer.headers.get("x-accel-buffering") == "no" or "nginx" in answer.headers.get("server", ""), answer.headers)
        expect(b"\nid:" not in b"\n" + answer.body, "an event with an id invites a GET that resumes")
        expect(answer.result["structuredContent"]["stdout"] == "done\n" and answer.pieces[-1][0] > seconds, answer.message)


def is_given_up(service: Service):
    seconds = service.no_byte_seconds + LONGER
    with service.environment() as environment:
        began = time.monotonic()
        expect_abort(lambda: service.python(environment, f"import time; time.sleep({seconds}); kept = 'to the end'"))
        # The agent's next call waits for its turn behind the one that nobody reads any more.
        answer = service.but(accept=STREAMS).python(environment, "print(kept)")
        expect(answer.result["structuredContent"]["stdout"] == "to the end\n", answer.message)
        expect(time.monotonic() - began >= seconds, "the call was stopped with its client")


def ends_at_its_deadline(service: Service):
    with service.environment() as environment:
        deadline = int(service.no_byte_seconds + LONGER)
        began = time.monotonic()
        expect_abort(lambda: service.shell(environment, "sleep 600", timeoutSeconds=deadline))
        answer = service.but(accept=STREAMS).shell(environment, "echo on")
        took = time.monotonic() - began
        expect(answer.result["structuredContent"]["stdout"] == "on\n", answer.message)
        expect(deadline <= took < deadline + 5, f"the next call came to its turn after {took:.1f} s")


def is_left(service: Service):
    with service.environment() as environment:
        with service.leaving_after_head():
            expect_abort(lambda: service.shell(environment, "sleep 4; echo to the end > note"))
        answer = service.shell(environment, "cat note")
        expect(answer.result["structuredContent"]["stdout"] == "to the end\n", answer.message)


def expect_abort(call):
    try:
        answer = call()
    except Aborted:
        return
    raise AssertionError(f"a byte came after {answer.first_byte_seconds:.1f} s: {answer.message}")


class Beside:
    """A call that takes its time while the others are checked."""

    def __init__(self, service: Service):
        self.service, self.outcome = service.but(), None
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        try:
            with self.service.environment() as environment:
                seconds = 2 * KEEP_ALIVE_SECONDS + 4
                self.outcome = self.service.shell(environment, f"sleep {seconds}; echo woke")
        except Exception as error:
            self.outcome = error

    def judge(self):
        self.thread.join(120)
        answer = self.outcome
        if answer is None or isinstance(answer, Exception):
            raise answer or AssertionError("it never ended")
        expect(answer.result["structuredContent"]["stdout"] == "woke\n", answer.message)
        times = [answer.first_byte_seconds, *(when for when, _ in answer.pieces)]
        gaps = [after - before for before, after in zip(times, times[1:])]
        expect(max(gaps) < KEEP_ALIVE_SECONDS + 2, f"silent for {max(gaps):.1f} s")
        comments = [line for line in answer.body.decode().split("\n") if line.startswith(":")]
        expect(len(comments) >= 2 and len(answer.messages) == 1, answer.body)
