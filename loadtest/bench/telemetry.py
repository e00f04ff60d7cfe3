"""What it costs to tell of a forwarded call: traces, and a line for each exchange."""

from drive import Accounting, Client
from goals import Goal
from load import CONNECTIONS, Load
from part import Part, call

SILENT = "telling nothing"
# Each way of telling: its flags, where RECEIVER is whoever takes traces, and how often the CPU of telling nothing it may cost.
TELLING = {
    "traces sampled at 1 %": (["--otlp-endpoint", "RECEIVER", "--trace-sample-ratio", "0.01"], 1.05),
    "traces of all": (["--otlp-endpoint", "RECEIVER", "--trace-sample-ratio", "1"], 1.40),
    "access log": (["--access-log"], 1.25),
}


class Telemetry(Part):
    """A gateway for each way of telling, all to one upstream. Whoever takes the traces throws them away."""

    def start(self, samples):
        upstream = self.rival("upstream", "bare").listening("rival")
        receiver = self.rival("receiver", "static", "0").listening("rival").removesuffix("/mcp")
        for name, flags in {SILENT: [], **{name: flags for name, (flags, _) in TELLING.items()}}.items():
            gateway = self.gateway({"bare": upstream}, *(receiver if it == "RECEIVER" else it for it in flags))
            # Without a trace context: whoever sends one decides for the gateway.
            url, request = self.gateways[-1], call("bare_echo")
            Client(url).call(request)
            self.loads.append(Load(name, url, [request], {"gateway": Accounting(gateway).own_cpu_seconds}))

    def goals(self, figures) -> list:
        def cpu(name):
            return f"{name}, {CONNECTIONS} connections, CPU of gateway a call"

        return [Goal(f"{name}: CPU a call, of {SILENT}", figures.ratio(cpu(name), cpu(SILENT)), at_most=bound) for name, (_, bound) in TELLING.items()]
