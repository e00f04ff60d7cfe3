"""Every name in a rendering leads to something that is in it too."""

from manifests import (
    WORKERS, called, container, files_of, find, labels, matches, name, of_kind, pod, port_number, workloads,
)

from report import expect


def check(objects: list, namespace):
    unique = [(it["kind"], name(it)) for it in objects]
    expect(len(unique) == len(set(unique)), f"twice: {[it for it in unique if unique.count(it) > 1]}")
    for it in objects:
        if it["kind"] != "RuntimeClass":
            expect(it["metadata"].get("namespace") == namespace, f"{it['kind']} {name(it)} is not in the namespace {namespace}")
    selectors(objects)
    services(objects)
    mounts(objects)
    targets(objects)


def chosen(objects: list, selector: dict, what: str) -> list:
    found = [it for it in workloads(objects) if matches(selector, labels(it))]
    expect(found, f"{what} selects no pod: {selector}")
    return found


def selectors(objects: list):
    for workload in workloads(objects):
        expect(chosen(objects, workload["spec"]["selector"], name(workload)) == [workload], f"{name(workload)} selects others' pods")
        for spread in pod(workload).get("topologySpreadConstraints", []):
            expect(chosen(objects, spread["labelSelector"], "a spread") == [workload], f"{name(workload)} spreads others' pods")
    for budget in of_kind(objects, "PodDisruptionBudget"):
        expect([name(it) for it in chosen(objects, budget["spec"]["selector"], name(budget))] == [name(budget)], name(budget))
    for policy in of_kind(objects, "NetworkPolicy"):
        its = chosen(objects, policy["spec"]["podSelector"], name(policy))
        for rule in policy["spec"].get("ingress", []):
            for port in rule.get("ports", []):
                for workload in its:
                    port_number(workload, port["port"])
        for rule in [*policy["spec"].get("ingress", []), *policy["spec"].get("egress", [])]:
            for peer in [*rule.get("from", []), *rule.get("to", [])]:
                if "podSelector" in peer and "namespaceSelector" not in peer:
                    chosen(objects, peer["podSelector"], name(policy))
    for monitor in of_kind(objects, "PodMonitor"):
        for workload in chosen(objects, monitor["spec"]["selector"], name(monitor)):
            for endpoint in monitor["spec"]["podMetricsEndpoints"]:
                port_number(workload, endpoint["port"])


def services(objects: list):
    for service in of_kind(objects, "Service"):
        expect("sessionAffinity" not in service["spec"], f"{name(service)} keeps clients to one pod")
        for workload in chosen(objects, {"matchLabels": service["spec"]["selector"]}, name(service)):
            for port in service["spec"]["ports"]:
                number = port_number(workload, port["targetPort"])
                expect(number == port["port"], f"{name(service)} takes {port['port']} for {number}")
    known = {name(it): {port["port"] for port in it["spec"]["ports"]} for it in of_kind(objects, "Service")}
    for workload in workloads(objects):
        if workload["kind"] == "StatefulSet":
            headless = find(objects, "Service", workload["spec"]["serviceName"])
            expect(headless["spec"]["clusterIP"] == "None", f"{name(headless)} gives its pods no names")
            expect(headless["spec"]["publishNotReadyAddresses"], f"{name(headless)} forgets a worker that drains")
        for host, port in called(workload):
            expect(port in known.get(host, ()), f"{name(workload)} goes to {host}:{port}, which no Service has")


def mounts(objects: list):
    for workload in workloads(objects):
        volumes = {it["name"]: it for it in pod(workload).get("volumes", [])}
        claims = [name(it) for it in workload["spec"].get("volumeClaimTemplates", [])]
        used = set()
        for mount in container(workload).get("volumeMounts", []):
            used.add(mount["name"])
            expect(mount["name"] in [*volumes, *claims], f"{name(workload)} has no volume {mount['name']}")
            volume = volumes.get(mount["name"], {})
            if not {"configMap", "secret"} & set(volume):
                continue
            expect(mount["readOnly"], f"{name(workload)} may write to {mount['name']}")
            files = files_of(objects, volume)
            ordinals = [path.replace("$(POD_NAME)", f"{name(workload)}-{n}") for n in range(WORKERS) if (path := mount.get("subPathExpr"))]
            for path in [*ordinals, *([mount["subPath"]] if "subPath" in mount else [])]:
                expect(path in files, f"{name(workload)} mounts {path}, which {mount['name']} has not")
        expect(used == {*volumes, *claims}, f"{name(workload)} mounts {used} of {[*volumes, *claims]}")
        for variable in container(workload).get("env", []):
            if key := variable.get("valueFrom", {}).get("secretKeyRef"):
                expect(key["key"] in find(objects, "Secret", key["name"])["data"], f"{key['name']} has no {key['key']}")
        if account := pod(workload).get("serviceAccountName"):
            expect(find(objects, "ServiceAccount", account)["automountServiceAccountToken"] is False, f"{account} has a token")
        if runtime := pod(workload).get("runtimeClassName"):
            find(objects, "RuntimeClass", runtime)


def targets(objects: list):
    for scaler in of_kind(objects, "HorizontalPodAutoscaler", "ScaledObject"):
        find(objects, "Deployment", scaler["spec"]["scaleTargetRef"]["name"])
    for route in of_kind(objects, "HTTPRoute"):
        for rule in route["spec"]["rules"]:
            for backend in rule["backendRefs"]:
                to_service(objects, backend["name"], backend["port"])
    for ingress in of_kind(objects, "Ingress"):
        for rule in ingress["spec"]["rules"]:
            for path in rule["http"]["paths"]:
                to_service(objects, path["backend"]["service"]["name"], path["backend"]["service"]["port"]["name"])


def to_service(objects: list, wanted: str, port):
    ports = find(objects, "Service", wanted)["spec"]["ports"]
    expect(any(port in (it["port"], it["name"]) for it in ports), f"{wanted} has no port {port}")
