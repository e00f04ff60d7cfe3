"""Bodies of a megabyte: what passing them on costs, and how long it keeps a small call waiting."""

import threading
import time
from dataclasses import dataclass

import plain_nginx
from drive import Accounting, Client, Request, tool
from goals import Goal
from load import Load
from part import Part
from processes import free_port

ROWS = 10_000  # of about a hundred bytes
PAUSE = 0.002  # between two small calls
NGINX, BATON = "through nginx", "through the gateway"


def large(name: str) -> Request:
    """Many small values, as tables have them: they cost more to read than a long text."""
    return tool(name, rows=[{"id": it, "name": f"the row with the number {it}", "share": 0.25, "tags": ["one", "two"]} for it in range(ROWS)])


@dataclass
class Way:
    """How bodies are passed on, and what is asked beside them."""

    name: str
    load: Load
    small: Request
    accounting: Accounting

    def __post_init__(self):
        Client(self.load.url).call(self.small)
        self.accounting.forget_peak()
        self.at_rest = self.accounting.peak_mb()

    def measure(self, samples):
        # A new one for each round: between two, nginx closes what nobody uses.
        client = Client(self.load.url)
        self.accounting.forget_peak()
        sending = threading.Thread(target=self.load.together, args=(samples,))
        sending.start()
        longest = 0
        while sending.is_alive():
            longest = max(longest, client.call(self.small)[1])
            time.sleep(PAUSE)
        sending.join()
        samples.add(f"{self.name}, longest small call meanwhile", "ms", longest)
        samples.add(f"{self.name}, memory more than at rest", "MB", self.accounting.peak_mb() - self.at_rest)


class Bodies(Part):
    """One upstream, nginx and the gateway in front of it; one body after the other."""

    def start(self, samples):
        upstream, port = self.rival("upstream", "bare").listening("rival"), free_port()
        nginx = plain_nginx.start(self, "nginx", plain_nginx.proxy("bare", port, upstream), [port])
        gateway = self.gateway({"bare": upstream})
        of_nginx, of_gateway = Accounting(nginx), Accounting(gateway)
        self.ways = [
            self.way(NGINX, f"http://127.0.0.1:{port}/mcp", "echo", "nginx", of_nginx),
            self.way(BATON, self.gateways[0], "bare_echo", "gateway", of_gateway),
        ]

    def way(self, name: str, url: str, called: str, who: str, accounting: Accounting) -> Way:
        name = f"1 MB, {name}"
        load = Load(name, url, [large(called)], {who: accounting.cpu_seconds}, widths=(1,))
        return Way(name, load, tool(called, text="small"), accounting)

    def round(self, samples):
        for way in self.ways:
            way.measure(samples)

    def goals(self, figures) -> list:
        ours, theirs = f"1 MB, {BATON}", f"1 MB, {NGINX}"
        cpu = figures.ratio(f"{ours}, 1 connection, CPU of gateway a call", f"{theirs}, 1 connection, CPU of nginx a call")
        memory, longest = "memory more than at rest", "longest small call meanwhile"
        return [
            Goal(f"{ours}: CPU a call, of nginx's", cpu, at_most=1.7),
            Goal(f"{ours}: memory, more than nginx, MB", figures.more(f"{ours}, {memory}", f"{theirs}, {memory}"), at_most=2),
            Goal(f"{ours}: {longest}, more than through nginx, ms", figures.more(f"{ours}, {longest}", f"{theirs}, {longest}"), at_most=5),
        ]
