"""How the CPU of a call grows with what there is beside it: connections, tools of an upstream, environments."""

import subprocess

import plain_nginx
from cluster import Cluster
from drive import Accounting, Client, python
from environments import PRINT, Site
from goals import Goal
from load import CONNECTIONS, Load
from part import Part, call
from processes import free_port, program

MANY_CONNECTIONS = 256
FEW_TOOLS, MANY_TOOLS = 5, 200
# So many are called; of the others there is only what the directory holds of each.
CALLED, FEW, MANY = 32, 100, 100_000
# Writes what Redis holds of one environment so many times more, as other tenants' environments.
COPY = """
local known = redis.call('KEYS', 'baton:{t:*}:env:*')[1]
local held, life = redis.call('DUMP', known), redis.call('PTTL', known)
for it = 1, tonumber(ARGV[1]) do
  redis.call('RESTORE', string.format('baton:{t:%032x}:env:%032x', it, it), life, held)
end
return redis.call('DBSIZE')
"""


class Growth(Part):
    """Gateways that differ in one thing."""

    def __init__(self, options, folder):
        super().__init__(options, folder)
        self.sites = {count: Site(folder, f"environments-{count}", options, warm_pool=0) for count in (FEW, MANY)}
        self.deployments += [site.deployment for site in self.sites.values()]

    def start(self, samples):
        urls = {tools: self.rival(f"upstream-{tools}", "bare", tools).listening("rival") for tools in (FEW_TOOLS, MANY_TOOLS)}
        port = free_port()
        nginx = plain_nginx.start(self, "nginx", plain_nginx.proxy("bare", port, urls[FEW_TOOLS]), [port])
        both = (CONNECTIONS, MANY_CONNECTIONS)
        self.loads.append(Load("through nginx", f"http://127.0.0.1:{port}/mcp", [call("echo")], {"nginx": Accounting(nginx).cpu_seconds}, widths=both))
        for tools, widths in {FEW_TOOLS: both, MANY_TOOLS: (CONNECTIONS,)}.items():
            gateway, request = self.gateway({"bare": urls[tools]}), call(f"bare_echo_{tools}")
            Client(self.gateways[-1]).call(request)
            self.loads.append(Load(f"{tools} tools", self.gateways[-1], [request], {"gateway": Accounting(gateway).own_cpu_seconds}, widths=widths))
        for count, site in self.sites.items():
            site.start()
            calls = [python(site.environment(), PRINT) for _ in range(CALLED)]
            copy_environments(site.deployment, count - CALLED)
            self.loads.append(Load(f"{count} environments", site.url, calls, {"gateway": site.gateway.own_cpu_seconds}))

    def goals(self, figures) -> list:
        def cpu(name, width=CONNECTIONS):
            return f"{name}, {width} connections, CPU of gateway a call"

        few = f"{FEW_TOOLS} tools"
        return [
            Goal(f"CPU a call, {MANY_CONNECTIONS} connections, of that with {CONNECTIONS}", figures.ratio(cpu(few, MANY_CONNECTIONS), cpu(few)), at_most=1.2),
            Goal(f"CPU a call, {MANY_TOOLS} tools upstream, of that with {FEW_TOOLS}", figures.ratio(cpu(f"{MANY_TOOLS} tools"), cpu(few)), at_most=1.1),
            Goal(f"CPU a call, {MANY} environments, of that with {FEW}", figures.ratio(cpu(f"{MANY} environments"), cpu(f"{FEW} environments")), at_most=1.1),
        ]


def copy_environments(deployment: Cluster, count: int):
    redis = next(process for process in deployment.processes if process.name == "redis")
    subprocess.run([program("redis-cli"), "-p", str(redis.port), "EVAL", COPY, "0", str(count)], check=True, capture_output=True)
