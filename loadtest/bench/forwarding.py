"""Forwarding to another MCP server: straight, through nginx, through a plain proxy, and through Baton."""

import plain_nginx
from drive import Accounting, Client, Request
from goals import Goal
from load import CONNECTIONS, Load
from part import Part, call
from processes import free_port

# One that does the least, and one on the official SDK; and the share of nginx's throughput that is to be kept.
UPSTREAMS = {"bare": 0.7, "sdk": 0.8}
STRAIGHT, NGINX, PLAIN, BATON = "straight", "through nginx", "through a plain proxy", "through the gateway"
WIDTHS = (CONNECTIONS, 64)
# A trace context that is not sampled.
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"


class Forwarding(Part):
    """Two upstreams, and all that forwards to them."""

    def start(self, samples):
        servers = {name: self.rival(name, name) for name in UPSTREAMS}
        urls = {name: server.listening("rival") for name, server in servers.items()}
        ports = {name: free_port() for name in UPSTREAMS}
        blocks = [plain_nginx.proxy(name, ports[name], url) for name, url in urls.items()]
        nginx = plain_nginx.start(self, "nginx", "".join(blocks), list(ports.values()))
        proxies = {name: self.rival(f"proxy-{name}", "proxy", url) for name, url in urls.items()}
        gateway = self.gateway(urls)
        for name, url in urls.items():
            proxy, straight = proxies[name], call("echo")
            self.add(name, STRAIGHT, url, straight, "server", Accounting(servers[name]).own_cpu_seconds)
            self.add(name, NGINX, f"http://127.0.0.1:{ports[name]}/mcp", straight, "nginx", Accounting(nginx).cpu_seconds)
            self.add(name, PLAIN, proxy.listening("rival"), straight, "proxy", Accounting(proxy).own_cpu_seconds)
            self.add(name, BATON, self.gateways[0], call(f"{name}_echo"), "gateway", Accounting(gateway).own_cpu_seconds)

    def add(self, upstream: str, way: str, url: str, request: Request, who: str, cpu):
        request.headers["traceparent"] = TRACE
        Client(url).call(request)
        self.loads.append(Load(f"{upstream}, {way}", url, [request], {who: cpu}, widths=WIDTHS, singly=True))

    def goals(self, figures) -> list:
        found = []
        for upstream, share in UPSTREAMS.items():
            straight, ours = (f"{upstream}, {way}, 1 connection, p50" for way in [STRAIGHT, BATON])
            found.append(Goal(f"{upstream}, p50 added by the gateway, 1 connection, ms", figures.more(ours, straight), at_most=0.1))
            for width in WIDTHS:
                ours, theirs = (f"{upstream}, {way}, {width} connections" for way in [BATON, NGINX])
                cpu, cpu_of_nginx = f"{ours}, CPU of gateway a call", f"{theirs}, CPU of nginx a call"
                found += [
                    Goal(f"{ours}: calls/s, of nginx's", figures.ratio(ours, theirs), at_least=share),
                    Goal(f"{cpu}, us", figures.median(cpu), at_most=26),
                    Goal(f"{cpu}, of nginx's", figures.ratio(cpu, cpu_of_nginx), at_most=1.7),
                ]
            found.append(Goal(f"{upstream}, {BATON}, {CONNECTIONS} connections: p99, ms", figures.median(f"{upstream}, {BATON}, {CONNECTIONS} connections, p99"), at_most=4))
        return found
