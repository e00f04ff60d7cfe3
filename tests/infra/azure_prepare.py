#!/usr/bin/env python3
"""infra/azure/prepare, run with stand-ins for `az` and `azd` and the real `baton`: what it makes, what it sends away, and
that another run changes nothing."""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/clients"))

from report import Report, expect  # noqa: E402

PLACE = Path(os.environ.get("AZURE_PLACE", ROOT / "infra/azure"))
SECONDS = 60
# A vault of files, a registry that lists what it was sent, and all that was asked.
AZ = """#!/bin/sh
set -eu
echo "$*" >>"$CLOUD/asked"
command=$*
value() { printf '%s\\n' "$command" | sed -n "s/.*$1 \\([^ ]*\\).*/\\1/p"; }
case $* in
  "keyvault secret show "*--query*) cat "$CLOUD/vault/$(value --name)" ;;
  "keyvault secret show "*) [ -f "$CLOUD/vault/$(value --name)" ] ;;
  "keyvault secret set "*) cp "$(value --file)" "$CLOUD/vault/$(value --name)" ;;
  "acr build "*)
    for word; do
      [ ! -d "$word" ] || (cd "$word" && find . -type f) >"$CLOUD/context"
    done ;;
  "group show "*) echo /subscriptions/0/resourceGroups/rg ;;
  "ad signed-in-user show "*) echo 0 ;;
esac
"""
AZD = """#!/bin/sh
echo "$*" >>"$CLOUD/azd"
"""


def program() -> Path:
    built = [Path(os.environ.get("BATON", "")), *(ROOT / f"target/{profile}/baton" for profile in ("debug", "release"))]
    return next(it for it in built if it.is_file())


def main():
    report = Report("azure_prepare")
    with tempfile.TemporaryDirectory() as folder:
        cloud = Path(folder)
        (cloud / "vault").mkdir()
        (cloud / "bin").mkdir()
        for name, content in {"az": AZ, "azd": AZD}.items():
            (cloud / "bin" / name).write_text(content)
            (cloud / "bin" / name).chmod(0o755)
        (cloud / "bin/baton").symlink_to(program())
        check(report, cloud)
    report.exit()


def prepare(cloud: Path, **more) -> str:
    (cloud / "scratch").mkdir(exist_ok=True)
    path = f"{cloud / 'bin'}:{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "CLOUD": str(cloud), "TMPDIR": str(cloud / "scratch"), "AZURE_ENV_NAME": "t", "AZURE_LOCATION": "here", **more}
    done = subprocess.run([PLACE / "prepare"], env=env, capture_output=True, text=True, timeout=SECONDS)
    expect(done.returncode == 0, done.stdout + done.stderr)
    expect(not list((cloud / "scratch").iterdir()), "keys are left where they were made")
    return done.stdout


def check(report: Report, cloud: Path):
    with report.check("it makes every key, and shows the first caller's once"):
        said = prepare(cloud)
        made = {it.name: it.read_bytes() for it in (cloud / "vault").iterdir()}
        expect(set(made) == {"signing-key", "worker-root-key", "gateway-config", "worker-w0-key", "worker-w1-key"}, set(made))
        expect(len(re.findall(r"\bbtk_\S+", said)) == 1 and b"btk_" not in b"".join(made.values()), said)
    with report.check("no key is an argument"):
        asked = (cloud / "asked").read_text()
        expect(not any(it.decode().strip() in asked for it in made.values()), "one is")
    with report.check("the registry gets what the image is built from, and nothing else"):
        sent = set((cloud / "context").read_text().split())
        copied = re.findall(r"^COPY (?!--from)(.*) \S+$", (ROOT / "infra/Dockerfile").read_text(), re.MULTILINE)
        wanted = [it for name in " ".join(copied).split() for it in [ROOT / name, *(ROOT / name).rglob("*")] if it.is_file()]
        wanted = {"./Dockerfile", *(f"./{it.relative_to(ROOT)}" for it in wanted)}
        expect(sent == wanted, f"too much: {sorted(sent - wanted)[:5]}, too little: {sorted(wanted - sent)[:5]}")
    with report.check("another run changes nothing"):
        image = next(it.split()[-1] for it in (cloud / "azd").read_text().splitlines() if "BATON_IMAGE" in it)
        said = prepare(cloud, BATON_IMAGE=image)
        expect(made == {it.name: it.read_bytes() for it in (cloud / "vault").iterdir()} and "btk_" not in said, "keys differ")
        expect((cloud / "asked").read_text().count("acr build") == 1, "it is built again")


main()
