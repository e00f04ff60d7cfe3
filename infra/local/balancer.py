"""nginx in front of the gateways: infra/nginx.conf as it stands, with other files for where to listen and whom to ask."""

import re
import shutil
import signal
from pathlib import Path
from urllib.parse import urlsplit

from processes import LOOPBACK, Process, Processes, program

INFRA = Path(__file__).resolve().parents[1]


def start(processes: Processes, prefix: Path, port: int, gateway_urls: list) -> str:
    """Returns the URL that clients use."""
    nginx = processes.run("nginx", command(prefix, port, [urlsplit(url).port for url in gateway_urls]))
    nginx.wait_until_accepting(port)
    return f"http://{LOOPBACK}:{port}/mcp"


def reload(nginx: Process, prefix: Path, gateway_urls: list):
    """Has a running nginx go round other gateways: its new processes take new connections, the old ones finish theirs."""
    write_gateways(prefix, [f"{LOOPBACK}:{urlsplit(url).port}" for url in gateway_urls])
    nginx.child.send_signal(signal.SIGHUP)


def command(prefix: Path, port: int, gateway_ports: list) -> list:
    """Writes the configuration below `prefix`; as root nginx's workers are nobody, so the folders above must let them through."""
    write_conf(prefix, [f"listen {LOOPBACK}:{port};"], [f"{LOOPBACK}:{gateway}" for gateway in gateway_ports])
    return [program("nginx"), "-e", "stderr", "-p", prefix, "-c", prefix / "nginx.conf"]


def write_conf(prefix: Path, listen: list, gateways: list):
    prefix.mkdir(parents=True, exist_ok=True)
    prefix.chmod(0o711)
    (prefix / "nginx").mkdir(exist_ok=True)
    shutil.copy(INFRA / "nginx.conf", prefix)
    (prefix / "nginx/listen.conf").write_text("\n".join(listen) + "\n")
    write_gateways(prefix, gateways)


def write_gateways(prefix: Path, gateways: list):
    line = (INFRA / "nginx/gateways.conf").read_text().splitlines()[0]
    servers = [re.sub(r"^server \S+", f"server {gateway}", line) for gateway in gateways]
    (prefix / "nginx/gateways.conf").write_text("\n".join(servers) + "\n")
