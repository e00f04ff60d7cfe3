"""Forwarding to another MCP server: straight, through nginx, through a plain proxy, and through Baton."""

import subprocess
from pathlib import Path

import directory
from cluster import Cluster
from drive import KEY, Accounting, Client, Request, tool
from load import CONNECTIONS, Load, Samples
from processes import free_port, program

ROOT = Path(__file__).resolve().parents[2]
# One that does the least, and one on the official SDK.
UPSTREAMS = ["bare", "sdk"]
STRAIGHT, NGINX, PLAIN, BATON = "straight", "through nginx", "through a plain proxy", "through the gateway"
WIDTHS = (CONNECTIONS, 64)
CALL_BYTES = 590
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"


def build():
    subprocess.run(["cargo", "build", "--locked", "--quiet", "--release", "--example", "rivals"], cwd=ROOT, check=True)


def call(name: str) -> Request:
    """A call of so many bytes, with a trace context that is not sampled."""
    rest = len(tool(name, text="").body)
    request = tool(name, text="x" * (CALL_BYTES - rest))
    request.headers["traceparent"] = TRACE
    return request


class Forwarding(Cluster):
    """Two upstreams, and all that forwards to them."""

    def __init__(self, options, folder: Path):
        super().__init__(folder, options.baton)
        self.deployments, self.loads = [self], []

    def start(self, samples: Samples):
        build()
        servers = {name: self.rival(name, name) for name in UPSTREAMS}
        urls = {name: server.listening("rival") for name, server in servers.items()}
        ports = {name: free_port() for name in UPSTREAMS}
        nginx = self.nginx(urls, ports)
        proxies = {name: self.rival(f"proxy-{name}", "proxy", url) for name, url in urls.items()}
        gateway = self.gateway(urls)
        for name, url in urls.items():
            proxy, straight = proxies[name], call("echo")
            self.add(name, STRAIGHT, url, straight, "server", Accounting(servers[name]).own_cpu_seconds)
            self.add(name, NGINX, f"http://127.0.0.1:{ports[name]}/mcp", straight, "nginx", Accounting(nginx).cpu_seconds)
            self.add(name, PLAIN, proxy.listening("rival"), straight, "proxy", Accounting(proxy).own_cpu_seconds)
            self.add(name, BATON, self.gateways[0], call(f"{name}_echo"), "gateway", Accounting(gateway).own_cpu_seconds)

    def add(self, upstream: str, way: str, url: str, request: Request, who: str, cpu):
        Client(url).call(request)
        self.loads.append(Load(f"{upstream}, {way}", url, [request], {who: cpu}, widths=WIDTHS))

    def round(self, samples: Samples):
        pass

    def finish(self, samples: Samples):
        pass

    def ratios(self, ratio) -> dict:
        found = {}
        for upstream in UPSTREAMS:
            for width in WIDTHS:
                ours, theirs = (f"{upstream}, {way}, {width} connections" for way in [BATON, NGINX])
                found[f"{ours}: calls/s, of nginx's"] = ratio(ours, theirs)
                found[f"{ours}: CPU a call, of nginx's"] = ratio(f"{ours}, CPU of gateway a call", f"{theirs}, CPU of nginx a call")
        return found

    def rival(self, name: str, *words):
        return self.run(name, [ROOT / "target/release/examples/rivals", *words])

    def nginx(self, urls: dict, ports: dict):
        prefix = self.folder / "nginx"
        prefix.mkdir()
        servers = "\n".join(f"""
            upstream {name} {{ server {url.split('/')[2]}; keepalive 256; keepalive_requests 100000000; }}
            server {{ listen 127.0.0.1:{ports[name]}; location / {{
                proxy_pass http://{name}; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host 127.0.0.1; }} }}""" for name, url in urls.items())
        (prefix / "nginx.conf").write_text(f"""
daemon off; worker_processes 2; pid {prefix}/nginx.pid; error_log stderr warn; events {{ worker_connections 1024; }}
http {{
    access_log off; keepalive_requests 100000000;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s;
    {servers}
}}""")
        nginx = self.run("nginx", [program("nginx"), "-e", "stderr", "-p", prefix, "-c", prefix / "nginx.conf"])
        for port in ports.values():
            nginx.wait_until_accepting(port)
        return nginx

    def gateway(self, urls: dict):
        config = self.folder / "gateway.toml"
        upstreams = "\n".join(
            f'[[upstream]]\nname = "{name}"\nprefix = "{name}_"\nurl = "{url}"\nprivate_networks = ["127.0.0.1"]\n' for name, url in urls.items())
        config.write_text(f"[tools]\nenvironments = false\n{upstreams}")
        self.start_gateways(1, directory.start_one(self), [
            "--config", config, "--api-key", KEY, "--rate-per-second", "1000000", "--rate-burst", "1000000", "--max-connections-per-address", "1000",
        ])
        return next(process for process in self.processes if process.name == "gateway-1")
