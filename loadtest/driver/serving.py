"""What a process of ours says of itself on its internal listener."""

import re
import time
import urllib.request

from processes import START_SECONDS, Trouble

ASK_SECONDS = 2


def wait_until_ready(internal_url: str):
    deadline = time.monotonic() + START_SECONDS
    while not ready(internal_url):
        if time.monotonic() > deadline:
            raise Trouble(f"{internal_url}/readyz did not come to 200 within {START_SECONDS} s")
        time.sleep(0.05)


def ready(internal_url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{internal_url}/readyz", timeout=ASK_SECONDS) as response:
            return response.status == 200
    except OSError:
        return False


def metric(internal_url: str, name: str, **labels) -> float:
    """The sum of a metric's series that have these labels."""
    with urllib.request.urlopen(f"{internal_url}/metrics", timeout=ASK_SECONDS) as response:
        lines = response.read().decode().splitlines()
    wanted = [f'{label}="{value}"' for label, value in labels.items()]
    series = re.compile(rf"^{name}(\{{.*\}})? (\S+)$")
    found = filter(None, map(series.match, lines))
    return sum(float(it[2]) for it in found if all(label in (it[1] or "") for label in wanted))
