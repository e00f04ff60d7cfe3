"""What the gateway answers by itself, beside servers that give static answers of the same length."""

import json

import plain_nginx
from drive import Accounting, Client, Request
from goals import Goal
from load import CONNECTIONS, Load
from part import Part
from processes import free_port

METHODS = ["server/discover", "tools/list"]
NGINX, AXUM, BATON = "from nginx", "from axum", "from the gateway"


class Answers(Part):
    """A gateway with its own tools, nginx and axum."""

    def start(self, samples):
        gateway, url = self.gateway({}), self.gateways[0]
        client = Client(url)
        lengths = {method: len(json.dumps(client.call(Request(method))[0])) for method in METHODS}
        port = free_port()
        nginx = plain_nginx.start(self, "nginx", plain_nginx.static(port, list(lengths.values())), [port])
        for method, length in lengths.items():
            axum = self.rival(f"axum-{length}", "static", length)
            self.add(method, NGINX, f"http://127.0.0.1:{port}/{length}", "nginx", Accounting(nginx).cpu_seconds)
            self.add(method, AXUM, axum.listening("rival"), "axum", Accounting(axum).own_cpu_seconds)
            self.add(method, BATON, url, "gateway", Accounting(gateway).own_cpu_seconds)

    def add(self, method: str, whence: str, url: str, who: str, cpu):
        self.loads.append(Load(f"{method}, {whence}", url, [Request(method)], {who: cpu}, singly=True))

    def goals(self, figures) -> list:
        found = []
        for method in METHODS:
            ours, axum = (f"{method}, {whence}, {CONNECTIONS} connections" for whence in [BATON, AXUM])
            found += [
                Goal(f"{method}: calls/s, of axum's with a static answer", figures.ratio(ours, axum), at_least=0.85),
                Goal(f"{method}: CPU of gateway a call, us", figures.median(f"{ours}, CPU of gateway a call"), at_most=12),
            ]
        return found
