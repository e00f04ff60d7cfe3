"""infra/kubernetes as Kustomize renders it, and what the checks look up in there."""

import base64
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests/clients")]
SOURCE = ROOT / "infra/kubernetes"
BATON = ROOT / "target/release/baton"
WORKERS = 3
SECONDS = 30


def copied(folder: Path) -> Path:
    """The folder as a user has it after `keys`, somewhere else: their own keys are not for a test."""
    place = folder / "kubernetes"
    shutil.copytree(SOURCE, place, ignore=shutil.ignore_patterns("own"))
    return place


def make_keys(place: Path, workers: int) -> str:
    """What `keys` prints."""
    environment = {**os.environ, "BATON": str(BATON)}
    made = subprocess.run([place / "keys", str(workers)], env=environment, capture_output=True, text=True, timeout=SECONDS)
    if made.returncode != 0 or made.stderr:
        raise AssertionError(f"keys {workers} ended with {made.returncode}: {made.stderr.strip()}")
    return made.stdout


def render(folder: Path) -> list:
    """Every object of a base or an overlay. A warning is a failure: it tells of fields that will go."""
    import yaml

    made = subprocess.run(["kubectl", "kustomize", folder], capture_output=True, text=True, timeout=SECONDS)
    if made.returncode != 0 or made.stderr:
        raise AssertionError(f"kubectl kustomize {folder.name} ended with {made.returncode}: {made.stderr.strip()}")
    return list(yaml.safe_load_all(made.stdout))


def with_component(place: Path, name: str) -> Path:
    """An overlay of the base and one component."""
    folder = place / "overlays" / f"only-{name}"
    folder.mkdir()
    text = "kind: Kustomization\napiVersion: kustomize.config.k8s.io/v1beta1\n"
    (folder / "kustomization.yaml").write_text(f"{text}resources: [../../base]\ncomponents: [../../components/{name}]\n")
    return folder


def name(thing: dict) -> str:
    return thing["metadata"]["name"]


def of_kind(objects: list, *kinds) -> list:
    return [it for it in objects if it["kind"] in kinds]


def find(objects: list, kind: str, wanted: str) -> dict:
    for it in of_kind(objects, kind):
        if name(it) == wanted:
            return it
    raise AssertionError(f"there is no {kind} {wanted}")


def workloads(objects: list) -> list:
    return of_kind(objects, "Deployment", "StatefulSet")


def template(workload: dict) -> dict:
    return workload["spec"]["template"]


def labels(workload: dict) -> dict:
    return template(workload)["metadata"]["labels"]


def pod(workload: dict) -> dict:
    return template(workload)["spec"]


def container(workload: dict) -> dict:
    """The only one: none of ours has a sidecar."""
    (only,) = pod(workload)["containers"]
    return only


def command(workload: dict) -> list:
    return [*container(workload)["command"], *container(workload).get("args", [])]


def flag(workload: dict, wanted: str) -> str:
    for word in command(workload):
        if word.startswith(f"--{wanted}="):
            return word.split("=", 1)[1]
    raise AssertionError(f"{name(workload)} has no --{wanted}")


def called(workload: dict) -> list:
    """The hosts and ports of every URL on the command line that is not the pod's own address; a worker's own name counts."""
    found = []
    for word in command(workload):
        if url := re.search(r"=http://([^/]+):(\d+)$", word):
            if url[1] != "$(POD_IP)":
                found.append((url[1].removeprefix("$(POD_NAME)."), int(url[2])))
    return found


def matches(selector, has: dict) -> bool:
    """A label selector; an empty one matches everything, as in Kubernetes."""
    selector = selector or {}
    unknown = set(selector) - {"matchLabels"}
    if unknown:
        raise AssertionError(f"this check does not know {unknown}: teach it")
    return all(has.get(key) == value for key, value in selector.get("matchLabels", {}).items())


def port_number(workload: dict, port) -> int:
    """A port by number, or by the name that the container gives it."""
    if isinstance(port, int):
        return port
    for declared in container(workload).get("ports", []):
        if declared.get("name") == port:
            return declared["containerPort"]
    raise AssertionError(f"{name(workload)} has no port {port}")


def files_of(objects: list, volume: dict) -> dict:
    """What a ConfigMap or a Secret puts into a volume: name to content."""
    if "configMap" in volume:
        return find(objects, "ConfigMap", volume["configMap"]["name"])["data"]
    secret = find(objects, "Secret", volume["secret"]["secretName"])
    return {key: base64.b64decode(value).decode() for key, value in secret["data"].items()}
