"""Those that only watch: each runs if it is installed, with the same configuration as in containers, or is named as missing."""

import os
import shutil
from pathlib import Path

from processes import LOOPBACK, Processes, find_program, free_port

OBSERVABILITY = Path(__file__).resolve().parents[1] / "observability"
# Jaeger as one process takes these by itself.
JAEGER_UI, JAEGER_OTLP_GRPC, JAEGER_OTLP_HTTP = 16686, 4317, 4318


class Observers:
    """Traces before the gateways, who have to know where to send them; metrics after, who have to know the gateways."""

    def __init__(self, processes: Processes):
        self.processes, self.missing = processes, []
        self.prometheus = None

    def start_traces(self) -> list:
        """Returns the flags that make Baton export."""
        jaeger, collector = self.find("jaeger"), self.find("otelcol", "otelcol-contrib")
        if not jaeger:
            if collector:
                self.missing.append(("otelcol", "without Jaeger it has nobody to send to"))
            return []
        self.run("jaeger", JAEGER_UI, [jaeger])
        port = JAEGER_OTLP_HTTP
        if collector:
            port = free_port()
            env = {
                "OTLP_LISTEN": f"{LOOPBACK}:{port}",
                "HEALTH_LISTEN": f"{LOOPBACK}:{free_port()}",
                "JAEGER_OTLP": f"{LOOPBACK}:{JAEGER_OTLP_GRPC}",
            }
            self.run("otelcol", port, [collector, "--config", OBSERVABILITY / "otelcol.yml"], env)
        return ["--otlp-endpoint", f"http://{LOOPBACK}:{port}"]

    def start_metrics(self, gateways: list, workers: list):
        """Both lists are URLs of internal listeners, in the order of the numbers in their names."""
        prometheus, grafana = self.find("prometheus"), self.find("grafana")
        if prometheus:
            self.start_prometheus(prometheus, {"gateway": gateways, "worker": workers})
        if grafana and prometheus:
            self.start_grafana(grafana)
        elif grafana:
            self.missing.append(("grafana", "without Prometheus it has nothing to show"))

    def start_prometheus(self, prometheus: str, targets: dict):
        port, folder = free_port(), self.processes.folder / "prometheus"
        folder.mkdir(exist_ok=True)
        for shared in ("prometheus.yml", "alerts.yml"):
            shutil.copy(OBSERVABILITY / shared, folder)
        (folder / "targets").mkdir(exist_ok=True)
        for role, urls in targets.items():
            (folder / f"targets/{role}s.yml").write_text("".join(
                f"- targets: [{url.split('/')[2]}]\n  labels: {{instance: {role}-{number}}}\n" for number, url in enumerate(urls, 1)))
        self.run("prometheus", port, [
            prometheus, f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}",
            "--storage.tsdb.retention.time=2d", f"--web.listen-address={LOOPBACK}:{port}",
        ])
        self.prometheus = f"http://{LOOPBACK}:{port}"

    def start_grafana(self, grafana: str):
        port, folder = free_port(), self.processes.folder / "grafana"
        folder.mkdir(exist_ok=True)
        # Debian, the archives and Homebrew each put its own files elsewhere.
        homes = [Path("/usr/share/grafana"), Path(grafana).resolve().parents[1], Path(grafana).resolve().parents[1] / "share/grafana"]
        home = next((home for home in homes if (home / "conf/defaults.ini").exists()), homes[0])
        self.run("grafana", port, [grafana, "server", "--homepath", home], {
            "GF_SERVER_HTTP_ADDR": LOOPBACK, "GF_SERVER_HTTP_PORT": str(port), "GF_PATHS_DATA": str(folder),
            "GF_PATHS_PROVISIONING": str(OBSERVABILITY / "grafana/provisioning"), "DASHBOARDS": str(OBSERVABILITY / "grafana/dashboards"),
            "PROMETHEUS_URL": self.prometheus, "JAEGER_URL": f"http://{LOOPBACK}:{JAEGER_UI}",
            "GF_AUTH_ANONYMOUS_ENABLED": "true", "GF_AUTH_ANONYMOUS_ORG_ROLE": "Viewer",
            "GF_ANALYTICS_REPORTING_ENABLED": "false", "GF_ANALYTICS_CHECK_FOR_UPDATES": "false",
        })

    def run(self, name: str, port: int, command: list, env=None):
        process = self.processes.run(name, command, {**os.environ, **(env or {})})
        process.wait_until_accepting(port)

    def find(self, *names: str):
        found = find_program(*names)
        if not found:
            self.missing.append((names[0], f"{' or '.join(names)} is not on PATH"))
        return found

    def environment(self) -> dict:
        return {"PROMETHEUS_URL": self.prometheus} if self.prometheus else {}
