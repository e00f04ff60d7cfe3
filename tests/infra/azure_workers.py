#!/usr/bin/env python3
"""infra/azure's workers: that a newer one can come to a machine that is there, and a machine be replaced without its
environments; and the machine's script, run with stand-ins for what only such a machine has."""

import hashlib
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests/clients"), str(Path(__file__).parent / "bicep")]

import yaml  # noqa: E402
from report import Report, expect  # noqa: E402
from source import Source  # noqa: E402

PLACE = Path(os.environ.get("AZURE_PLACE", ROOT / "infra/azure"))
PROFILE = PLACE.parent / "apparmor.profile"
SECONDS = 30
# The image is Debian's child, and useradd refuses the name of a group that is there (base-passwd).
GROUPS = """root daemon bin sys adm tty disk lp mail news uucp man proxy kmem dialout fax voice cdrom floppy tape sudo audio
    dip www-data backup operator list irc src shadow utmp video sasl plugdev staff games users nogroup"""
# Every one of them says that it was asked, and `curl` brings what stands in for the binary.
STANDINS = {
    "systemctl": '[ -z "${CUT_OFF:-}" ] || exit 1; case $1 in is-active) [ -e "$MACHINE/active" ] ;; restart) : >"$MACHINE/active" ;; esac',
    "apparmor_parser": ":",
    "cloud-init": ":",
    "mountpoint": ":",
    "hostname": "echo 10.60.4.7 fe80::7",
    "curl": 'for word; do case $before in -o) [ "$word" = /dev/null ] || cp "$MACHINE/offered" "$word" ;; esac; before=$word; done',
}


def main():
    report = Report("azure_workers")
    bicep = Source(PLACE / "modules/workers.bicep")
    templates(report, bicep)
    with tempfile.TemporaryDirectory() as folder:
        script(report, Machine(Path(folder)))
    report.exit()


def templates(report: Report, bicep: Source):
    resources = {type_.split("@")[0]: (name, body) for name, (type_, body, existing) in bicep.resources.items() if not existing}
    machine = resources["Microsoft.Compute/virtualMachines"][1]
    properties, system = machine["properties"], machine["properties"]["osProfile"]

    with report.check("nothing in osProfile changes from one deployment to the next"):
        expect(system["customData"] == "base64(loadTextContent('../workers/cloud-init.yaml'))", system["customData"])
        expect(not re.search("@[A-Z0-9]+@", (PLACE / "workers/cloud-init.yaml").read_text()), "cloud-init.yaml awaits values")
    with report.check("cloud-init.yaml is the machine's part alone, and leaves a disk as it is"):
        content = (PLACE / "workers/cloud-init.yaml").read_text()
        data = yaml.safe_load(content)
        expect(content.startswith("#cloud-config\n"), "it is no cloud-config")
        expect(set(data) == {"package_update", "packages", "disk_setup", "fs_setup", "mounts"}, set(data))
        kept = [*data["disk_setup"].values(), *data["fs_setup"]]
        expect(all(it["overwrite"] is False for it in kept), kept)
    with report.check("a worker's disk, identity and address are not its machine's"):
        disks = properties["storageProfile"]["dataDisks"]
        held = [(it["createOption"], it["deleteOption"], str(it["managedDisk"].get("id"))) for it in disks]
        expect(held == [("Attach", "Detach", f"{resources.get('Microsoft.Compute/disks', ['no disk'])[0]}[i].id")], held)
        expect(machine["identity"]["type"] == "UserAssigned", machine["identity"])
        role = str(resources["Microsoft.Authorization/roleAssignments"][1])
        expect(resources["Microsoft.Compute/virtualMachines"][0] not in role, "the role is the machine's")
        expect(properties["networkProfile"]["networkInterfaces"][0]["properties"] == {"deleteOption": "Detach"}, "the address goes")
    with report.check("machines are brought up to date one after another, and a failure is one of the deployment"):
        name, command = resources["Microsoft.Compute/virtualMachines/runCommands"]
        expect(re.search(rf"^@batchSize\(1\)\nresource {name} ", bicep.path.read_text(), re.MULTILINE), "all at once")
        expect(command["properties"].get("treatFailureAsDeploymentFailure") is True, "nobody hears of it")
        expect("asyncExecution" not in command["properties"], "nobody waits for it")
    with report.check("the script gets all that it asks for"):
        wanted = set(re.findall("@[A-Z0-9]+@", (PLACE / "workers/install").read_text()))
        given = set(re.findall("'(@[A-Z0-9]+@)'", bicep.path.read_text()))
        expect(wanted == given, f"{wanted ^ given} stand on one side only")
    with report.check("the administrator's name is no group's of the image"):
        admin = system["adminUsername"]
        expect(admin not in GROUPS.split() and re.fullmatch("[a-z][a-z0-9-]{0,30}", admin), admin)
        (key,) = system["linuxConfiguration"]["ssh"]["publicKeys"]
        expect(key["path"] == f"/home/{admin}/.ssh/authorized_keys", key["path"])
    with report.check("on Ubuntu baton has an AppArmor profile that lets it make user namespaces"):
        expect("ubuntu" in properties["storageProfile"]["imageReference"]["offer"], "of another image other things are to be asked")
        expect("loadTextContent('../../apparmor.profile')" in bicep.path.read_text(), "the machine does not get it")
        found = re.search(r"^abi <abi/4\.0>,\n\nprofile \w+ (\S+) flags=\(unconfined\) \{\n  userns,\n\}$", PROFILE.read_text(), re.MULTILINE)
        started = re.search(r"^ExecStart=(\S+) ", (PLACE / "workers/install").read_text(), re.MULTILINE)
        expect(found and found[1] == started[1], "it is not for the program that the service starts")


class Machine:
    """A folder for the machine's root: paths of the script are exchanged, and what it asks of the machine is written down."""

    def __init__(self, folder: Path):
        self.folder = folder
        (folder / "bin").mkdir()
        (folder / "run").mkdir()
        for name, does in STANDINS.items():
            (folder / "bin" / name).write_text(f'#!/bin/sh\necho "{name} $*" >>"$MACHINE/asked"\n{does}\n')
            (folder / "bin" / name).chmod(0o755)
        self.binary, self.unit = folder / "usr/local/bin/baton", folder / "etc/systemd/system/baton-worker.service"

    def install(self, offered: bytes, gateway="http://gateway:8081", digest=None, cut_off=False) -> tuple[int, list[str]]:
        """Runs the script while the address leads to `offered`: how it ended, and what it asked for."""
        (self.folder / "offered").write_bytes(offered)
        (self.folder / "asked").write_text("")
        given = {"ID": "w7", "CLIENT": "c", "VAULT": "https://vault/", "GATEWAY": gateway, "OTLP": "http://otlp", "URL": "https://binary"}
        given |= {"SHA256": digest or hashlib.sha256(offered).hexdigest(), "APPARMOR": PROFILE.read_text()}
        text = re.sub("@([A-Z0-9]+)@", lambda it: given[it[1]], (PLACE / "workers/install").read_text())
        text = re.sub(r"(?<![\w.:/])(/(?:etc|run|usr/local)/)", rf"{self.folder}\1", text)
        (self.folder / "usr/local/bin").mkdir(parents=True, exist_ok=True)
        env = {**os.environ, "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}", "MACHINE": str(self.folder)}
        env |= {"CUT_OFF": "yes"} if cut_off else {}
        done = subprocess.run(["sh"], input=text, env=env, capture_output=True, text=True, timeout=SECONDS)
        return done.returncode, (self.folder / "asked").read_text().splitlines()


def script(report: Report, machine: Machine):
    restart = "systemctl restart baton-worker"
    with report.check("a new machine gets profile, unit and binary, and the profile is loaded before the worker starts"):
        code, asked = machine.install(b"first")
        expect(code == 0 and machine.binary.read_bytes() == b"first" and os.access(machine.binary, os.X_OK), asked)
        loaded = next(at for at, it in enumerate(asked) if it.startswith("apparmor_parser -r "))
        expect(loaded < asked.index(restart), asked)
        profile = (machine.folder / "etc/apparmor.d/baton").read_text().replace(str(machine.folder), "")
        expect(profile.strip() == PROFILE.read_text().strip(), profile)
        expect((machine.folder / "etc/baton/address").read_text() == "ADDRESS=10.60.4.7\n", "another address")
        expect("--advertise http://${ADDRESS}:8090" in machine.unit.read_text(), machine.unit.read_text())
        key = machine.folder / "usr/local/sbin/baton-key"
        expect(os.access(key, os.X_OK) and subprocess.run(["sh", "-n", key]).returncode == 0, "the key's script is none")
    with report.check("where nothing changed the worker goes on, with its binary not even fetched"):
        code, asked = machine.install(b"first")
        expect(code == 0 and restart not in asked and not any("https://binary" in it for it in asked), asked)
    with report.check("a newer binary, and another gateway, come by a restart"):
        code, asked = machine.install(b"second")
        expect(code == 0 and restart in asked and machine.binary.read_bytes() == b"second", asked)
        code, asked = machine.install(b"second", gateway="http://other:8081")
        expect(code == 0 and restart in asked and "--gateway http://other:8081" in machine.unit.read_text(), asked)
    with report.check("a binary with another digest never takes the place of the one that runs"):
        code, asked = machine.install(b"forged", digest=hashlib.sha256(b"third").hexdigest())
        expect(code != 0 and restart not in asked and machine.binary.read_bytes() == b"second", asked)
    with report.check("a run that was cut off before the restart is made good by the next"):
        code, _ = machine.install(b"third", cut_off=True)
        again, asked = machine.install(b"third")
        expect(code != 0 and again == 0 and restart in asked, (code, again, asked))


main()
