#!/usr/bin/env python3
"""infra/kubernetes, without a cluster: rendered by kubectl, held to the schemas of two Kubernetes versions, its references
followed, its network policies evaluated, its commands compared with the program's own help, and then run (cluster/node.py)."""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "cluster"))
import references  # noqa: E402
import schemas  # noqa: E402
from manifests import (  # noqa: E402
    BATON, ROOT, SECONDS, WORKERS, command, container, copied, find, flag, make_keys, name, of_kind, pod, port_number, render,
    with_component, workloads,
)
from network import STRANGERS, Net, listening  # noqa: E402

from report import Report, expect  # noqa: E402  (the path is set by manifests)

# What stands between SIGTERM and the drain, and after it: Baton's own not-ready stage, last words, last spans.
AROUND_THE_DRAIN = 5 + 3 + 2
ROLES = {"baton-gateway": "gateway", "baton-worker": "worker"}


def check_keys(place: Path):
    own = place / "base/own"
    before = {path.name: path.read_text() for path in own.iterdir()}
    expect(set(before) == {"signing.key", "worker-root.key", "worker-keys.env", "redis.env", "baton.toml"}, set(before))
    expect(make_keys(place, WORKERS) == "", "a second run made something anew")
    make_keys(place, WORKERS + 1)
    after = {path.name: path.read_text() for path in own.iterdir()}
    old, new = before.pop("worker-keys.env"), after.pop("worker-keys.env")
    expect(new.startswith(old) and new.count("\n") == WORKERS + 1, "keys of workers were not kept, or none was added")
    expect(before == after, "one more worker changed something else")
    expect({path.stat().st_mode & 0o777 for path in own.iterdir()} == {0o600}, "others may read")
    kept_out = subprocess.run(["git", "check-ignore", "-q", "infra/kubernetes/base/own/signing.key"], cwd=ROOT, timeout=SECONDS)
    expect(kept_out.returncode == 0, "git would take infra/kubernetes/base/own")


def check_commands(objects: list):
    """Flags, variables and runtimes are the program's own, and no flag stands twice."""
    for workload in workloads(objects):
        if (role := ROLES.get(name(workload))) is None:
            continue
        expect(command(workload)[:2] == ["baton", role], f"{name(workload)} runs {command(workload)[:2]}")
        said = subprocess.run([BATON, "help", role], capture_output=True, text=True, timeout=SECONDS).stdout
        flags = dict(re.findall(r"^  --([a-z-]+)(.*)$", said, re.MULTILINE))
        used = [word.removeprefix("--").split("=")[0] for word in command(workload)[2:]]
        expect(len(used) == len(set(used)), f"{name(workload)} says a flag twice: {used}")
        variables = [it["name"].removeprefix("BATON_") for it in container(workload).get("env", []) if it["name"].startswith("BATON_")]
        for word in [*used, *(it.lower().replace("_", "-") for it in variables)]:
            expect(word in flags, f"{name(workload)} says --{word}, which baton {role} does not know")
        if role == "worker":
            runtime = flag(workload, "runtime")
            expect(re.search(rf"\b{re.escape(runtime)}\b", flags["runtime"]), f"there is no runtime {runtime}: {flags['runtime'].strip()}")


def check_probes(objects: list):
    """Ports by the command line, paths by the program; the run shows that they answer."""
    for workload in workloads(objects):
        if name(workload) not in ROLES:
            continue
        serves = [int(flag(workload, which).rsplit(":", 1)[1]) for which in ("listen", "internal-listen")]
        declared = [it["containerPort"] for it in container(workload)["ports"]]
        expect(declared == serves, f"{name(workload)} declares {declared} and listens on {serves}")
        for probe, path in {"startupProbe": "/readyz", "readinessProbe": "/readyz", "livenessProbe": "/livez"}.items():
            action = container(workload)[probe]["httpGet"]
            expect(action["path"] == path, f"{probe} of {name(workload)} asks for {action['path']}")
            expect(port_number(workload, action["port"]) == serves[1], f"{probe} of {name(workload)} is not on the internal listener")


def check_ends(objects: list):
    """Who is told to stop has the time for it; who leaves is not asked any more."""
    for workload in workloads(objects):
        if name(workload) not in ROLES:
            continue
        before = container(workload).get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        needed = before + int(flag(workload, "drain-seconds")) + AROUND_THE_DRAIN
        granted = pod(workload)["terminationGracePeriodSeconds"]
        expect(granted > needed, f"{name(workload)} needs {needed} s to stop and has {granted}")
    gateway = find(objects, "Deployment", "baton-gateway")
    expect(container(gateway)["lifecycle"]["preStop"]["sleep"]["seconds"] >= 5, "gateways leave before endpoints drop")
    expect(gateway["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0, "an update takes gateways away")


def check_pods(objects: list, restricted: set):
    """What the Pod Security Standard `restricted` asks for, of those that claim it; for workers by `embedded`, all but three fields."""
    for workload in workloads(objects):
        spec, inside = pod(workload), container(workload)["securityContext"]
        profile = inside.get("seccompProfile", spec["securityContext"].get("seccompProfile", {})).get("type")
        facts = {
            "a host namespace": not any(spec.get(it) for it in ("hostNetwork", "hostPID", "hostIPC")),
            "root": spec["securityContext"]["runAsNonRoot"] is True and spec["securityContext"]["runAsUser"] > 0,
            "more privilege": inside["allowPrivilegeEscalation"] is False and not inside.get("privileged"),
            "capabilities": inside["capabilities"] == {"drop": ["ALL"]},
            "a root to write to": inside["readOnlyRootFilesystem"] is True,
            "a token": spec["automountServiceAccountToken"] is False,
            "variables of services": spec["enableServiceLinks"] is False,
            "a volume of the host": all(set(it) & {"configMap", "secret", "emptyDir"} for it in spec.get("volumes", [])),
        }
        if name(workload) in restricted:
            facts["no seccomp profile"] = profile == "RuntimeDefault"
            facts["no AppArmor profile"] = "appArmorProfile" not in inside
            facts["an unmasked /proc"] = inside.get("procMount", "Default") == "Default"
        if inside.get("procMount") == "Unmasked":
            facts["an unmasked /proc without a user namespace, which Kubernetes refuses"] = spec.get("hostUsers") is False
        for what, holds in facts.items():
            expect(holds, f"{name(workload)} has {what}")


def expected(net: Net, extra: set, clients: set, redis: set) -> set:
    """The architecture's arrows, by (from, to, port)."""
    gateway, worker = "baton-gateway", "baton-worker"
    always = {(gateway, gateway, 8081), (worker, gateway, 8081), (gateway, worker, 8090), (gateway, "dns", 53), (worker, "dns", 53)}
    return always | {(who, gateway, 8080) for who in clients} | {(gateway, where, 6379) for where in redis} | extra


def check_network(objects: list, extra=frozenset(), clients=frozenset(STRANGERS), redis=frozenset({"private", "internet"})):
    net = Net(objects)
    # Any place may be Redis's until someone narrows it; of the strangers only two are asked on its port.
    asked = {
        **listening(objects), "baton-redis": [6379], "dns": [53, 80], "collector": [4318, 22], "internet": [80, 443, 6379, 8080],
        "metadata": [80, 443], "private": [80, 443, 6379], "stranger": [80, 443, 8080], "neighbour": [8080], "monitoring-other": [9090],
    }
    arrows = net.arrows(asked)
    right = expected(net, set(extra), set(clients), set(redis))
    expect(not arrows - right, f"open, and should not be: {sorted(arrows - right)}")
    expect(not right - arrows, f"closed, and should not be: {sorted(right - arrows)}")


def check_scaling(objects: list, place: Path):
    """One autoscaler for the gateways, on a metric that the adapter's rule makes; the run shows that gateways have it."""
    import yaml

    scalers = [*of_kind(objects, "HorizontalPodAutoscaler"), *of_kind(objects, "ScaledObject")]
    expect(len(scalers) == 1, f"{len(scalers)} autoscalers")
    spec = scalers[0]["spec"]
    expect(spec.get("minReplicas", spec.get("minReplicaCount")) == 3, "fewer than three gateways")
    expect("replicas" not in find(objects, "Deployment", "baton-gateway")["spec"], "each apply would undo the autoscaler's work")
    if scalers[0]["kind"] == "ScaledObject":
        expect('baton_in_flight{kind="server", namespace="baton"' in spec["triggers"][0]["metadata"]["query"], "another metric")
        return
    metric = spec["metrics"][0]["pods"]["metric"]
    expect(metric == {"name": "baton_in_flight", "selector": {"matchLabels": {"kind": "server"}}}, metric)
    (rule,) = yaml.safe_load((place / "prometheus-adapter.yaml").read_text())["rules"]["custom"]
    expect(rule["seriesQuery"].split("{")[0] == metric["name"] and "<<.LabelMatchers>>" in rule["metricsQuery"], rule)


def check_monitor(objects: list):
    """Each role is scraped under the job that the alerts and the dashboard ask for, each pod under its name."""
    (monitor,) = of_kind(objects, "PodMonitor")
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    jobs = set()
    for workload in workloads(objects):
        labels = workload["spec"]["template"]["metadata"]["labels"]
        meta = {"__meta_kubernetes_pod_name": name(workload)}
        meta |= {"__meta_kubernetes_pod_label_" + re.sub(r"\W", "_", key): value for key, value in labels.items()}
        target = {}
        for step in endpoint["relabelings"]:
            source = ";".join(meta[label] for label in step["sourceLabels"])
            target[step["targetLabel"]] = step.get("replacement", "$1").replace("$1", source)
        jobs.add(target["job"])
        expect(target["instance"] == name(workload), target)
    for file in ("alerts.yml", "grafana/dashboards/baton.json"):
        asked = set(re.findall(r'job=\\?"([\w-]+)\\?"', (ROOT / "infra/observability" / file).read_text()))
        expect(asked and asked <= jobs, f"{file} asks for {asked}, and there are {jobs}")


def run(overlay: Path, key: str) -> bool:
    """In namespaces of its own: the real ports are free there, and everything ends with it."""
    node = ["unshare", "--user", "--map-root-user", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    script = Path(__file__).parent / "cluster/node.py"
    sys.stdout.flush()
    return subprocess.run([*node, sys.executable, script, overlay, key], timeout=100).returncode == 0


def main():
    report = Report("kubernetes")
    with tempfile.TemporaryDirectory(prefix="baton-kubernetes-") as folder:
        place = copied(Path(folder))
        key = make_keys(place, WORKERS).split()[-1]
        with report.check("keys makes what is missing, keeps what is there, and git takes none of it"):
            check_keys(place)

        overlays = {it.name: it for it in sorted((place / "overlays").iterdir())}
        alone = {it.name: with_component(place, it.name) for it in sorted((place / "components").iterdir())}
        rendered = {}
        for its_name, where in {"base": place / "base", **overlays, **{f"base and {it}": alone[it] for it in alone}}.items():
            with report.check(f"{its_name} renders without a warning, and holds to the schemas of {schemas.OLDEST} and {schemas.NEWEST}"):
                rendered[its_name] = render(where)
                for thing in rendered[its_name]:
                    for version in (schemas.OLDEST, schemas.NEWEST):
                        schemas.validate(thing, version)

        for its_name, objects in rendered.items():
            with report.check(f"{its_name}: every name leads somewhere, and the commands are the program's"):
                references.check(objects, "baton" if its_name in overlays else None)
                check_commands(objects)
                check_probes(objects)
                check_ends(objects)
                check_scaling(objects, place)
            with report.check(f"{its_name}: pods have no more rights than they need"):
                embedded = flag(find(objects, "StatefulSet", "baton-worker"), "runtime") == "embedded"
                check_pods(objects, {"baton-gateway", "baton-redis"} | (set() if embedded else {"baton-worker"}))

        trial = {"extra": {("baton-gateway", "baton-redis", 6379)}, "redis": set()}
        own = {"baton-gateway", "baton-worker"}
        scraped = {("prometheus", "baton-gateway", 8081), ("prometheus", "baton-worker", 8091)}
        traced = {(who, "collector", 4318) for who in own}
        outside = {("baton-gateway", "internet", 443)}
        for its_name, arrows in {
            "base": {},
            "trial": trial,
            "confined": trial,
            "gvisor": trial,
            "production": {"extra": scraped | traced | outside, "clients": {"gateway-proxy"}},
            "base and ingress": {"clients": {"ingress"}},
            "base and upstreams": {"extra": outside},
        }.items():
            with report.check(f"{its_name}: the network policies allow the architecture's arrows, and nothing else"):
                check_network(rendered[its_name], **arrows)

        with report.check("production: metrics have the labels that alerts and dashboard ask for"):
            check_monitor(rendered["production"])

        with report.check("the README names every overlay and every component"):
            said = set(re.findall(r"`([a-z-]+)`", (place / "README.md").read_text()))
            expect(not {*overlays, *alone} - said, f"it is silent on {sorted({*overlays, *alone} - said)}")

        for its_name in ("trial", "confined"):
            with report.check(f"{its_name} runs without a cluster: three gateways, two workers and Redis by the rendered commands"):
                expect(run(overlays[its_name], key), "see above")
    report.exit()


main()
