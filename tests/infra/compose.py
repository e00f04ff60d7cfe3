#!/usr/bin/env python3
"""infra/Dockerfile and infra/compose.yaml by their linter, their schema and a compose tool, and what a schema cannot know:
that files are there, names agree, and nothing is open that need not be. compose_processes.py runs the commands."""

import os
import re
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/clients"))

import yaml  # noqa: E402
from report import Report, expect  # noqa: E402

INFRA = ROOT / "infra"
COMPOSE = INFRA / "compose.yaml"


def run(*words, **more) -> str:
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=120, **more)
    expect(done.returncode == 0, done.stdout + done.stderr)
    return done.stdout


class Overrides(yaml.SafeLoader):
    """Reads Compose's own tag as what it holds."""


Overrides.add_constructor("!override", lambda loader, node: loader.construct_sequence(node))


def main():
    report = Report("compose")
    compose = yaml.safe_load(COMPOSE.read_text())
    services = compose["services"]

    with report.check("the Dockerfile is as hadolint wants it"):
        run("hadolint", INFRA / "Dockerfile")
    with report.check("what the Dockerfile copies is not ignored"):
        ignored = (INFRA / "Dockerfile.dockerignore").read_text().splitlines()
        copied = re.findall(r"^COPY (?!--from)(.*) \S+$", (INFRA / "Dockerfile").read_text(), re.MULTILINE)
        for name in " ".join(copied).split():
            expect(f"!{name}" in ignored and (ROOT / name).exists(), name)
    with report.check("what follows the image is a whole command, for every engine and for App Service"):
        dockerfile = (INFRA / "Dockerfile").read_text()
        expect(not re.search("^ENTRYPOINT", dockerfile, re.MULTILINE), "the image has an ENTRYPOINT")
        expect('CMD ["baton", "help"]' in dockerfile, "without a command it says nothing")
        for name, service in services.items():
            expect(service["image"] != "baton:local" or service["command"][0] == "baton", name)
        docker = next(line for line in (INFRA / "compose/keys").read_text().splitlines() if "docker run" in line)
        expect(docker.endswith(' baton "$@"'), docker)
    with report.check("compose.yaml is valid by the Compose specification's schema"):
        run(sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", COMPOSE)
    with report.check("a compose tool reads it, and sees every service"):
        expect(set(read_by_tool()["services"]) == set(services), "services differ")
    with report.check("confined.yaml changes workers that there are, and nothing else"):
        other = yaml.load((INFRA / "compose/confined.yaml").read_text(), Overrides)  # noqa: S506  # SafeLoader's child
        workers = {name for name in services if name.startswith("worker-")}
        expect(set(other) == {"services"} and set(other["services"]) == workers, other)
        for name in workers:
            expect(set(other["services"][name]) == {"environment", "security_opt"}, name)
            expect(other["services"][name]["security_opt"] == compose["x-hardened"]["security_opt"], name)

    with report.check("every file that is mounted, read or built from is there"):
        for name, service in services.items():
            for volume in service.get("volumes", []):
                source = volume.split(":")[0]
                there = (INFRA / source).exists() if source.startswith(".") else source in compose["volumes"]
                expect(there, f"{name}: {source}")
            for option in service["security_opt"]:
                kind, _, value = option.partition("=")
                expect(kind != "seccomp" or (INFRA / value).is_file(), f"{name}: {option}")
    with report.check("infra/compose/keys makes every secret, and another run leaves them alone"):
        with tempfile.TemporaryDirectory() as folder:
            run(INFRA / "compose/keys", folder)
            wanted = {Path(secret["file"]).name for secret in compose["secrets"].values()}
            made = {path.name: path.read_bytes() for path in Path(folder).iterdir()}
            expect(set(made) == wanted | {"api.key"} and all(made.values()), set(made) ^ wanted)
            expect(stat.S_IMODE(Path(folder).stat().st_mode) == 0o700, "others may enter the folder")
            run(INFRA / "compose/keys", folder)
            expect(made == {path.name: path.read_bytes() for path in Path(folder).iterdir()}, "changed")
    with report.check("no secret is in the environment, and none in the repository"):
        for name, service in services.items():
            for variable in service.get("environment", {}):
                expect(not re.search("KEY|TOKEN|SECRET|PASSWORD$", variable), f"{name}: {variable}")
        tracked = run("git", "ls-files", "infra/compose", cwd=ROOT) if (ROOT / ".git").exists() else ""
        expect("secrets/" not in tracked, tracked)

    with report.check("images have versions"):
        for name, service in services.items():
            image, _, tag = service["image"].rpartition(":")
            expect(image and tag != "latest" and (image == "baton" or re.search(r"\d+\.\d+", tag)), f"{name}: {service['image']}")
    with report.check("only three ports are open, and only to this machine"):
        ports = {name: service["ports"] for name, service in services.items() if "ports" in service}
        expect(set(ports) == {"nginx", "grafana", "jaeger"}, ports)
        expect(all(port.startswith("127.0.0.1:") for each in ports.values() for port in each), ports)
    with report.check("every container is read-only, without capabilities, limited, and comes back"):
        for name, service in services.items():
            expect(service["read_only"] and service["cap_drop"] == ["ALL"] and service["restart"] == "unless-stopped", name)
            expect("no-new-privileges:true" in service["security_opt"], name)
            expect({"mem_limit", "cpus", "pids_limit"} <= set(service), name)
            unconfined = any("unconfined" in option for option in service["security_opt"])
            expect(unconfined == name.startswith("worker-"), name)
            expect("healthcheck" in service or name in ("otelcol", "jaeger"), name)
    with report.check("workers reach neither Redis nor the outside, and Redis only gateways"):
        members = {net: {name for name, service in services.items() if net in service["networks"]} for net in compose["networks"]}
        roles = {net: {re.sub(r"-\d$", "", name) for name in names} for net, names in members.items()}
        expect(roles["rpc"] == {"gateway", "worker"} and roles["directory"] == {"gateway", "redis", "sentinel"}, roles)
        expect(roles["front"] == {"nginx", "gateway"}, roles)
        for net in ("rpc", "directory", "telemetry"):
            expect(compose["networks"][net]["internal"], net)
    with report.check("nginx has every gateway, with the parameters that nginx.conf is tested with"):
        def servers(path):
            return [line.split(None, 2)[1:] for line in (INFRA / path).read_text().splitlines()]

        ours = servers("compose/nginx/gateways.conf")
        expect([name.split(":")[0] for name, _ in ours] == sorted(name for name in services if name.startswith("gateway-")), ours)
        expect({parameters for _, parameters in ours} == {parameters for _, parameters in servers("nginx/gateways.conf")}, ours)
    with report.check("gateways believe nginx, whose address is fixed"):
        address = services["nginx"]["networks"]["front"]["ipv4_address"]
        expect(f"--trusted-proxy={address}" in services["gateway-1"]["command"], address)
    with report.check("Prometheus asks every gateway and worker"):
        targets = [target for role in ("gateways", "workers") for target in yaml.safe_load((INFRA / f"compose/targets/{role}.yml").read_text())]
        named = {target["labels"]["instance"] for target in targets}
        expect(named == {name for name, service in services.items() if service["image"] == "baton:local"}, named)
        expect(all(target["targets"][0].split(":")[0] == target["labels"]["instance"] for target in targets), targets)
    report.exit()


def read_by_tool() -> dict:
    """podman-compose, which asks its engine for a version before it reads anything: so it is told one."""
    with tempfile.TemporaryDirectory() as folder:
        engine = Path(folder) / "podman"
        engine.write_text("#!/bin/sh\necho podman version 5.4.2\n")
        engine.chmod(0o755)
        words = ["-m", "podman_compose", "--podman-path", engine, "-f", COMPOSE, "config"]
        return yaml.safe_load(run(sys.executable, *words, cwd=folder, env={**os.environ, "COMPOSE_PROJECT_NAME": "baton"}))


main()
