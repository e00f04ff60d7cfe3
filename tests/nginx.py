#!/usr/bin/env python3
"""What infra/nginx.conf promises, against scripted upstreams: even turns, another gateway when one cannot be reached,
never a second copy of a POST that may have been read, streams as they come, and a client's going away seen at once."""

import json
import socket
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent / "clients")]
from report import Report, expect  # noqa: E402
from topology import Process, balancer, free_port  # noqa: E402

BODY = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "x"}}).encode()


class Upstream:
    """Counts the requests it read; `behaviour(connection, request)` is its answer."""

    def __init__(self, behaviour):
        self.behaviour, self.requests = behaviour, []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            connection, _ = self.listener.accept()
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        with connection:
            while request := read_request(connection):
                self.requests.append(request)
                if self.behaviour(connection, request) == "close":
                    return


def read_request(connection) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        if not (more := connection.recv(65536)):
            return b""
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    lengths = [line.split(b":")[1] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    while len(body) < (int(lengths[0]) if lengths else 0):
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


def answer(connection, request):
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")


def read_and_break(connection, request):
    return "close"


def stream(connection, request):
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
    connection.sendall(b"d\r\ndata: first\n\n\r\n")
    connection.settimeout(5)
    try:
        stream.noticed = connection.recv(1) == b""
    except OSError:
        stream.noticed = False
    return "close"


SMUGGLED = b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"
LAST = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
AMBIGUOUS = [
    b"Content-Length: 5\r\nTransfer-Encoding: chunked",
    b"Transfer-Encoding: chunked\r\nContent-Length: 5",
    b"Content-Length: 5\r\nTransfer-Encoding: xchunked",
    b"Content-Length: 5\r\nTransfer-Encoding : chunked",
    b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
    b"Transfer-Encoding: chunked, identity",
    b"Content-Length: 5\r\nContent-Length: 0",
    b"Content-Length: 5, 5",
    b"Content-Length: +5",
    b"Content-Length: -5",
    b"Content-Length: 5\r\nX-A: 1\r\n folded",
    b"Content-Length: 5\r\nHost: b",
]


def raw(port: int, data: bytes) -> bytes:
    """Everything that is answered to these bytes, until nginx closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.sendall(data)
        reply = b""
        try:
            while more := client.recv(65536):
                reply += more
        except ConnectionResetError:
            pass
        return reply


def refusal(reply: bytes) -> tuple:
    """The status, the header Retry-After or None, and the JSON-RPC error."""
    head, _, body = reply.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    expect(headers["content-type"] == "application/json", head)
    return status.split(" ")[1], headers.get("retry-after"), json.loads(body)["error"]


def post(port: int, headers=b"", body=BODY) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", port), timeout=10)
    client.sendall(b"POST /mcp HTTP/1.1\r\nHost: localhost:%d\r\nContent-Type: application/json\r\n" % port + headers
                   + b"Content-Length: %d\r\n\r\n" % len(body) + body)
    return client


def exchange(port: int, headers=b"") -> bytes:
    with post(port, headers) as client:
        return read_request(client)


class Nginx:
    def __init__(self, *upstreams):
        self.upstreams = upstreams

    def __enter__(self) -> int:
        self.folder = tempfile.TemporaryDirectory(prefix="baton-nginx-")
        folder = Path(self.folder.name)
        port = free_port()
        ports = [upstream if isinstance(upstream, int) else upstream.port for upstream in self.upstreams]
        self.process = Process(folder, "nginx", balancer.command(folder, port, ports))
        self.process.wait_until_accepting(port)
        return port

    def __exit__(self, *_):
        self.process.stop()
        self.folder.cleanup()


def main():
    report = Report("nginx")

    with report.check("gives each gateway its turn"):
        three = [Upstream(answer) for _ in range(3)]
        with Nginx(*three) as port:
            for _ in range(300):
                exchange(port)
        counts = [len(upstream.requests) for upstream in three]
        expect(counts == [100, 100, 100], counts)

    with report.check("goes to another gateway when one cannot be reached"):
        alive = Upstream(answer)
        with Nginx(free_port(), alive, free_port()) as port:
            statuses = {exchange(port).split(b" ")[1] for _ in range(10)}
        expect(statuses == {b"200"} and len(alive.requests) == 10, (statuses, len(alive.requests)))

    with report.check("never sends a POST again once a gateway may have read it"):
        breaking = [Upstream(read_and_break) for _ in range(3)]
        with Nginx(*breaking) as port:
            reply = exchange(port)
        counts = [len(upstream.requests) for upstream in breaking]
        expect(sum(counts) == 1, f"delivered {counts}")
        status, wait, error = refusal(reply)
        expect((status, wait, error["code"]) == ("502", None, 50201), reply)
        expect(error["data"] == {"executed": "maybe", "retryable": False}, error)

    with report.check("says that nothing ran when no gateway could be reached, and when to come again"):
        with Nginx(free_port(), free_port()) as port:
            # The second time nginx tries none: both failed a moment ago.
            for reply in exchange(port), exchange(port):
                status, wait, error = refusal(reply)
                expect((status, wait, error["code"]) == ("503", "2", 50301), reply)
                expect(error["data"] == {"executed": "no", "retryable": True, "retryAfterMs": 2000}, error)

    with report.check("refuses a body beyond its own limit, which no later try would change"):
        seen = Upstream(answer)
        with Nginx(seen) as port, socket.create_connection(("127.0.0.1", port), timeout=10) as client:
            client.sendall(b"POST /mcp HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (33 << 20))
            status, wait, error = refusal(read_request(client))
        expect((status, wait, error["code"]) == ("413", None, -32600) and not seen.requests, (status, wait, error))

    with report.check("passes a gateway's own refusals on as they are"):
        for status in b"429", b"502", b"503", b"504":
            own = b"HTTP/1.1 %s X\r\nRetry-After: 7\r\nContent-Length: 2\r\n\r\n{}" % status
            gateway = Upstream(lambda connection, _, own=own: connection.sendall(own))
            with Nginx(gateway) as port:
                reply = exchange(port)
            expect(reply.startswith(b"HTTP/1.1 " + status) and reply.endswith(b"\r\n\r\n{}"), reply)
            expect(b"\r\nRetry-After: 7\r\n" in reply and len(gateway.requests) == 1, reply)

    with report.check("passes Host and odd header names, and keeps a client from naming itself"):
        seen = Upstream(answer)
        with Nginx(seen) as port:
            exchange(port, b"Mcp-Param-My_Value: 1\r\nX-Forwarded-For: 203.0.113.9\r\nForwarded: for=203.0.113.9\r\n")
        head = seen.requests[0].lower()
        expect(b"\r\nhost: localhost:%d\r\n" % port in head and b"mcp-param-my_value: 1" in head, head)
        expect(b"x-forwarded-for: 127.0.0.1\r\n" in head and b"203.0.113.9" not in head, head)

    with report.check("refuses two framings in one request"):
        seen = Upstream(answer)
        with Nginx(seen) as port:
            reply = exchange(port, b"Transfer-Encoding: chunked\r\n")
        expect(reply.split(b" ")[1] == b"400" and not seen.requests, reply)
        expect(json.loads(reply.partition(b"\r\n\r\n")[2])["error"]["code"] == -32600, reply)

    with report.check("lets no framing through that two readers could take in two ways"):
        seen = Upstream(answer)
        with Nginx(seen) as port:
            for lines in AMBIGUOUS:
                reply = raw(port, b"POST /mcp HTTP/1.1\r\nHost: localhost\r\n" + lines + b"\r\n\r\n0\r\n\r\n" + SMUGGLED)
                statuses = [part[:3] for part in reply.split(b"HTTP/1.1 ")[1:]]
                expect(len(statuses) == 1 and statuses[0] in (b"400", b"501"), (lines, reply))
                expect(not seen.requests, (lines, seen.requests))

    with report.check("frames chunks anew, and what follows them is a request of its own"):
        seen = Upstream(answer)
        with Nginx(seen) as port:
            chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)
            raw(port, b"POST /mcp HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked + LAST)
        first, last = seen.requests
        expect(b"content-length: %d\r\n" % len(BODY) in first.lower() and first.endswith(BODY), first)
        expect(b"transfer-encoding" not in first.lower() and last.startswith(b"GET /health "), (first, last))

    with report.check("streams events as they come, and a client's going away reaches the gateway within a second"):
        with Nginx(Upstream(stream)) as port:
            client = post(port)
            received = b""
            began = time.monotonic()
            while b"data: first" not in received:
                received += client.recv(4096)
            expect(time.monotonic() - began < 1, "the first event was held back")
            client.close()
            deadline = time.monotonic() + 1
            while not getattr(stream, "noticed", None) and time.monotonic() < deadline:
                time.sleep(0.02)
        expect(getattr(stream, "noticed", None) is True, "the gateway's connection stayed open")

    report.exit()


main()
