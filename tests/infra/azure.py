#!/usr/bin/env python3
"""infra/azure, without a subscription: every Bicep file is parsed and its names, modules and parameters are followed; the
command lines in it are compared with the program's own help; what must hold of the deployment is looked up in it."""

import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

sys.path.insert(0, str(Path(__file__).parent / "bicep"))
from source import Source, text, walk  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
PLACE = Path(os.environ.get("AZURE_PLACE", ROOT / "infra/azure"))
SECONDS = 30
# What stands between SIGTERM and the drain: Baton's own stage in which it is not ready.
NOT_READY_SECONDS = 5
FUNCTIONS = {"resourceGroup", "subscription", "tenant"}
BUILT_IN = {"sys", "az"} | FUNCTIONS
TYPE = re.compile(r"Microsoft\.[A-Za-z]+(/[A-Za-z]+)+@20\d\d-(0[1-9]|1[0-2])-([0-2]\d|3[01])(-preview)?")

failed = False


def check(what: str, wrong) -> None:
    global failed
    wrong = [str(it) for it in wrong]
    failed |= bool(wrong)
    print(f"FAIL {what}: {'; '.join(wrong)}" if wrong else f"ok {what}")


def program() -> str:
    built = [ROOT / f"target/{profile}/baton" for profile in ("debug", "release")]
    built = [os.environ.get("BATON", "")] + sorted((str(it) for it in built if it.exists()), key=os.path.getmtime, reverse=True)
    return next(it for it in built if it)


def flags(role: str) -> dict[str, bool]:
    """The flags that the program knows, and whether each takes a value."""
    said = subprocess.run([program(), "help", role], capture_output=True, text=True, timeout=SECONDS, check=True).stdout
    known = re.findall(r"^  --([a-z-]+)( [A-Z=]+)?  ", said, re.M)
    return {flag: bool(word) for flag, word in known}


def wrong_words(words: list[str], where: str):
    """What of `ROLE --flag value …` the program would refuse."""
    role, rest = words[0], list(words[1:])
    known = flags(role)
    if len(known) < 10:
        yield f"{where}: `baton help {role}` was not understood"
    while rest:
        word = rest.pop(0)
        flag = word.removeprefix("--")
        if not word.startswith("--") or flag not in known:
            yield f"{where}: `baton {role}` has no {word}"
        elif known[flag] and (not rest or rest[0].startswith("--")):
            yield f"{where}: {word} has no value"
        elif known[flag]:
            rest.pop(0)


def objects(value):
    """Every object in a value."""
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    if isinstance(value, list):
        for it in value:
            yield from objects(it)


def of_type(sources, kind: str):
    for source in sources.values():
        for name, (type_, body, existing) in source.resources.items():
            if type_.split("@")[0] == kind and not existing:
                yield source, name, body


def names(source: Source):
    declared = source.declared() | BUILT_IN
    for name, line in source.used().items():
        if name not in declared:
            yield f"{source.path.name}:{line}: {name} is not declared"
    for name in {*source.params, *source.variables} - set(source.used()):
        yield f"{source.path.name}: nobody uses {name}"


def modules(source: Source, sources):
    for name, (path, body, _) in source.modules.items():
        target = sources.get((source.path.parent / path).resolve())
        if target is None:
            yield f"{source.path.name}: {name} is at {path}, where nothing is"
            continue
        given = body.get("params", {})
        yield from (f"{source.path.name}: {path} has no parameter {it}" for it in set(given) - set(target.params))
        needed = {it for it, param in target.params.items() if param.required}
        yield from (f"{source.path.name}: {path} needs {it}" for it in needed - set(given))
        for module, output in source.outputs_used():
            if module == name and output not in target.outputs:
                yield f"{source.path.name}: {path} has no output {output}"
    for file in re.findall(r"loadTextContent\('([^']+)'\)", source.path.read_text()):
        if not (source.path.parent / file).is_file():
            yield f"{source.path.name}: there is no {file}"


def project(sources):
    description = yaml.safe_load((PLACE / "azure.yaml").read_text())
    main = (PLACE / description["infra"]["path"] / f"{description['infra']['module']}.bicep").resolve()
    if main not in sources:
        return [f"azure.yaml leads to {main}, where nothing is"]
    wrong = []
    for hook in description["hooks"].values():
        script = PLACE / hook["run"]
        if not os.access(script, os.X_OK):
            wrong.append(f"{script} cannot be run")
    parameters = json.loads((PLACE / "main.parameters.json").read_text())["parameters"]
    params = sources[main].params
    wrong += [f"main.bicep has no parameter {it}" for it in set(parameters) - set(params)]
    wrong += [f"main.parameters.json lacks {it}" for it, param in params.items() if param.required and it not in parameters]
    for name, it in parameters.items():
        if not re.fullmatch(r"\$\{[A-Z0-9_]+(=[^}]*)?\}", it["value"]):
            wrong.append(f"{name} is not a variable of azd: {it['value']}")
    return wrong


def commands(sources):
    """Every command line of baton: where it is, and its words."""
    for source in sources.values():
        for _, (_, body, _) in source.resources.items():
            for it in objects(body):
                if it.get("command") == ["baton"]:
                    yield f"{source.path.name}: {it['name']}", it["args"]
        for name, content in source.variables.items():
            for line in re.findall(r"exec baton (.*?)'?$", str(content), re.M):
                yield f"{source.path.name}: {name}", shlex.split(line)
    for line in re.findall(r"ExecStart=/usr/local/bin/baton (.*)", (PLACE / "workers/install").read_text()):
        yield "workers/install", shlex.split(line)


def starts(sources):
    """App Service's start command behind the image's ENTRYPOINT, as `docker run IMAGE …` has it: run, with a stand-in for baton."""
    source = next(it for it in sources.values() if "start" in it.variables)
    if source.variables["config"]["appCommandLine"] != "replace(trim(start), '\\n', '; ')":
        return ["the start command is made in a way that nobody looks at"]
    entrypoint = re.findall(r"^ENTRYPOINT (.*)$", (PLACE.parent / "Dockerfile").read_text(), re.M)
    words = [word for it in entrypoint for word in json.loads(it)] + shlex.split(source.variables["start"].strip().replace("\n", "; "))
    if words[:2] != ["sh", "-c"]:
        return [f"the container would run {words[:3]}"]
    given = {"SIGNING_KEY": "s==", "WORKER_ROOT_KEY": "w==", "GATEWAY_CONFIG": '[[api_key]]\nhash = "$a b"', "WEBSITE_HOSTNAME": "app"}
    with tempfile.TemporaryDirectory() as folder:
        baton = Path(folder) / "baton"
        baton.write_text(f'#!/bin/sh\nenv >{folder}/env\nfor word; do echo "$word"; done')
        baton.chmod(0o755)
        env = {**given, "PATH": f"{folder}:/usr/bin:/bin", "WEBSITE_PRIVATE_IP": "10.60.2.7", "WEBSITE_PRIVATE_PORTS": "20001,20002"}
        said = subprocess.run([word.replace("/tmp/", f"{folder}/") for word in words], env=env, capture_output=True, text=True, timeout=SECONDS)
        kept = {it: (Path(folder) / "env").read_text().count(f"{it}=") for it in list(given)[:3]}
        wrong = [f"it ends with {said.returncode}: {said.stderr}"] if said.returncode or said.stderr else []
        wrong += [f"baton still has {it}" for it, count in kept.items() if count]
        asked = {"0.0.0.0:20001", "http://10.60.2.7:20001", "app"} - set(said.stdout.split("\n"))
        wrong += [f"baton is not told {it}" for it in asked]
        for name, key in [("signing.key", "SIGNING_KEY"), ("worker-root.key", "WORKER_ROOT_KEY"), ("baton.toml", "GATEWAY_CONFIG")]:
            file = Path(folder) / "keys" / name
            if file.read_text() != given[key] + "\n" or file.stat().st_mode & 0o077:
                wrong.append(f"{name} is not what it was given, or others may read it")
        return wrong


def invariants(sources):
    at_least_three = 0
    for source, name, app in of_type(sources, "Microsoft.App/containerApps"):
        template, configuration = app["properties"]["template"], app["properties"]["configuration"]
        container = template["containers"][0]
        if container.get("command") != ["baton"]:
            continue
        least = source.params.get(str(template["scale"]["minReplicas"]))
        if least is None or int(least.decorators.get("minValue", 0)) < 3:
            yield f"{name} may have fewer than three replicas"
        at_least_three += 1
        ingress = configuration["ingress"]
        if ingress.get("stickySessions") != {"affinity": "none"} or ingress["allowInsecure"] is not False:
            yield f"{name}: the ingress is sticky, or in the clear"
        args = container["args"]
        listens = {args[args.index(flag) + 1].rsplit(":", 1)[1] for flag in ("--listen", "--internal-listen")}
        if listens != {str(ingress["targetPort"]), f"${{{ingress['additionalPortMappings'][0]['targetPort']}}}"}:
            yield f"{name} listens on {listens}, and its ingress leads elsewhere"
        if template["terminationGracePeriodSeconds"] <= int(args[args.index("--drain-seconds") + 1]) + NOT_READY_SECONDS:
            yield f"{name} is killed while it drains"
        believed = {args[at + 1] for at, word in enumerate(args) if word == "--trusted-proxy"}
        if believed != {"ingressNetwork", "edgeNetwork"} or edge_network(sources) != "edge":
            yield f"{name} believes {believed}, and the edge's network is that of {edge_network(sources)!r}"
        probed = {(it["type"], it["httpGet"]["path"], str(it["httpGet"]["port"])) for it in container["probes"]}
        if probed != {("Startup", "/livez", "internalPort"), ("Liveness", "/livez", "internalPort"), ("Readiness", "/readyz", "internalPort")}:
            yield f"{name} is probed at {probed}"
        mounted = {f"/keys/{it['path']}" for volume in template["volumes"] for it in volume.get("secrets", [])}
        files = {it for it in args if it.startswith("/keys/")}
        if mounted != files:
            yield f"{name}: {files} are named and {mounted} are there"
        held = {it["name"] for it in configuration["secrets"]}
        referred = {it["secretRef"] for it in objects(template) if "secretRef" in it}
        if held != referred:
            yield f"{name}: secrets {held} are held and {referred} are used"
        if any("keyVaultUrl" not in it for it in configuration["secrets"]):
            yield f"{name}: a secret is not of the vault"
    sites = [*of_type(sources, "Microsoft.Web/sites"), *of_type(sources, "Microsoft.Web/sites/slots")]
    for source, name, site in sites:
        config = source.variables[str(site["properties"]["siteConfig"])]
        if site["properties"].get("clientAffinityEnabled") is not False or site["properties"].get("httpsOnly") is not True:
            yield f"{name} is sticky, or in the clear"
        expected = {"healthCheckPath": "/health", "alwaysOn": True, "http20Enabled": True, "vnetPrivatePortsCount": 1}
        if {key: config.get(key) for key in expected} != expected:
            yield f"{name} is not {expected}"
    if at_least_three != 1 or len(sites) != 2:
        yield f"{at_least_three} gateway apps and {len(sites)} sites were found"
    for _, name, environment in of_type(sources, "Microsoft.App/managedEnvironments"):
        if environment["properties"]["vnetConfiguration"].get("internal") is not True:
            yield f"{name} is on the internet, and with it the port that workers report to"
    for _, name, redis in of_type(sources, "Microsoft.Cache/redisEnterprise/databases"):
        properties = redis["properties"]
        if properties["clusteringPolicy"] not in ("NoCluster", "EnterpriseCluster") or properties["clientProtocol"] != "Encrypted":
            yield f"{name} speaks Cluster, or in the clear"
        if properties["evictionPolicy"] != "NoEviction":
            yield f"{name} forgets what it was told"
    for _, name, redis in of_type(sources, "Microsoft.Cache/redisEnterprise"):
        if redis["properties"].get("publicNetworkAccess") != "Disabled":
            yield f"{name} is on the internet"
    for _, name, edge in of_type(sources, "Microsoft.Network/applicationGateways"):
        buffers = edge["properties"]["globalConfiguration"]
        affinity = [it["properties"]["cookieBasedAffinity"] for it in edge["properties"]["backendHttpSettingsCollection"]]
        if buffers != {"enableRequestBuffering": False, "enableResponseBuffering": False} or affinity != ["Disabled"]:
            yield f"{name} buffers, or is sticky"


def edge_network(sources) -> str:
    """Which network the gateways get as the edge's, if it is the one that the edge is in."""
    main, network = (next(it for it in sources.values() if it.path.name == name) for name in ("main.bicep", "network.bicep"))
    given = main.modules["gateway"][1]["params"].get("edgeNetwork", "")
    name = network.outputs.get(given.removeprefix("network.outputs."), "")
    (subnets,) = (body["properties"]["subnets"] for _, _, body in of_type(sources, "Microsoft.Network/virtualNetworks"))
    return next((it["name"] for it in subnets if it["properties"]["addressPrefix"] == name), "")


def secrets(sources):
    prepared = set(re.findall(r"put ([a-z-]+) ", (PLACE / "prepare").read_text()))
    for source in sources.values():
        content = source.path.read_text()
        for node in walk(source.root):
            if node.type == "object_property":
                key, value = text(node.named_children[0]), node.named_children[1]
                literal = value.type == "string" and all(it.type == "string_content" for it in value.named_children)
                if re.search(r"(?i)(password|secretvalue|accountkey|connectionstring|sharedkey)$", key) and literal:
                    yield f"{source.path.name}: {key} is a literal"
        for output, expression in source.outputs.items():
            if "list" in expression or "Key" in expression or "ConnectionString" in expression:
                yield f"{source.path.name}: the output {output} shows a secret"
        for name in re.findall(r"vaultUri\}secrets/([a-z-]+)'", content) + re.findall(r"\$\{secret\}([a-z-]+)\)'", content):
            if name not in prepared:
                yield f"{source.path.name}: {name} is read, and nothing puts it into the vault"
        for key in re.findall(r"[A-Za-z0-9+/]{40,}={0,2}", content):
            if not re.fullmatch(r"[0-9a-f-]+|[A-Za-z/]+", key):
                yield f"{source.path.name}: {key[:6]}… looks like a key"


def collector(sources):
    config = yaml.safe_load((PLACE / "collector.yaml").read_text())
    used = {"extensions": set(config["service"]["extensions"])}
    for pipeline in config["service"]["pipelines"].values():
        for kind, members in pipeline.items():
            used.setdefault(kind, set()).update(members)
    for kind in ("extensions", "receivers", "processors", "exporters"):
        if set(config[kind]) != used.get(kind):
            yield f"{kind}: {set(config[kind])} are described and {used.get(kind)} are used"
    source, _, app = next(it for it in of_type(sources, "Microsoft.App/containerApps") if it[1] == "collector")
    container = app["properties"]["template"]["containers"][0]
    ports = {config["receivers"]["otlp"]["protocols"]["http"]["endpoint"].rsplit(":")[-1]}
    if ports != {str(app["properties"]["configuration"]["ingress"]["targetPort"])}:
        yield f"the collector listens on {ports}, and its ingress leads elsewhere"
    if config["extensions"]["health_check"]["endpoint"].rsplit(":")[-1] != str(container["probes"][0]["httpGet"]["port"]):
        yield "the collector is probed elsewhere"
    variables = set(re.findall(r"\$\{env:([A-Z_]+)\}", (PLACE / "collector.yaml").read_text()))
    if not variables <= {it["name"] for it in container["env"]}:
        yield f"{variables} are not given"


def script():
    ended = subprocess.run(["sh", "-n", PLACE / "prepare"], capture_output=True, text=True, timeout=SECONDS)
    if ended.returncode:
        yield ended.stderr


def main() -> int:
    sources = {path.resolve(): Source(path.resolve()) for path in sorted(PLACE.rglob("*.bicep"))}
    check("the parser reads every Bicep file", [it for source in sources.values() for it in source.problems] or ([] if len(sources) > 10 else ["few files"]))
    if failed:
        return 1
    check("names are declared, and used", (it for source in sources.values() for it in names(source)))
    check("modules are there and get the parameters that they have", (it for source in sources.values() for it in modules(source, sources)))
    types = {type_ for source in sources.values() for type_, _, _ in source.resources.values()}
    check("resource types have versions", (it for it in types if not TYPE.fullmatch(it)))
    check("azure.yaml and main.parameters.json lead to what is there", project(sources))
    check("App Service starts a shell", starts(sources))
    lines = list(commands(sources))
    check("command lines have flags that the program knows", [it for where, words in lines for it in wrong_words(words, where)] or ([] if len(lines) == 3 else [f"{len(lines)} were found"]))
    check("three replicas, no affinity, nothing on the internet that must not be", invariants(sources))
    check("secrets come from the vault and are shown nowhere", secrets(sources))
    check("the collector's parts fit together", collector(sources))
    check("the script is one", script())
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
