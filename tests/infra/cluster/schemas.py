"""Objects held to their schemas: Kubernetes' own by the package kubernetes-validate, strictly; the kinds that operators
bring by what is written here, for that package has none of them. These name what we use, and refuse all else."""

import jsonschema
import kubernetes_validate
from manifests import name

# The oldest that has all we use (the `sleep` action, appArmorProfile), and the newest that the package knows.
OLDEST = "1.30"
NEWEST = kubernetes_validate.latest_version()

STRING = {"type": "string", "minLength": 1}
COUNT = {"type": "integer", "minimum": 0}
LABELS = {"type": "object", "additionalProperties": {"type": "string"}, "minProperties": 1}


def just(required: dict, optional: dict | None = None) -> dict:
    """An object with these members and no others."""
    properties = {**required, **(optional or {})}
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


def some(items: dict) -> dict:
    return {"type": "array", "items": items, "minItems": 1}


def object_of(kind: str, version: str, spec: dict) -> dict:
    metadata = just({"name": STRING}, {"namespace": STRING, "labels": LABELS, "annotations": LABELS})
    return just({"apiVersion": {"const": version}, "kind": {"const": kind}, "metadata": metadata, "spec": spec})


DURATION = {"type": "string", "pattern": "^([0-9]{1,5}(h|m|s|ms)){1,4}$"}
HTTP_ROUTE = just({
    "parentRefs": some(just({"name": STRING}, {"namespace": STRING, "sectionName": STRING})),
    "hostnames": some(STRING),
    "rules": some(just({
        "matches": some(just({"path": just({"type": {"enum": ["Exact", "PathPrefix"]}, "value": {"pattern": "^/"}})})),
        "backendRefs": some(just({"name": STRING, "port": COUNT})),
        "timeouts": just({"request": DURATION, "backendRequest": DURATION}),
    })),
})
POD_MONITOR = just({
    "selector": just({"matchLabels": LABELS}),
    "podMetricsEndpoints": some(just({
        "port": STRING,
        "path": {"pattern": "^/"},
        "interval": DURATION,
        "relabelings": some(just({"sourceLabels": some(STRING), "targetLabel": STRING}, {"replacement": STRING})),
    })),
})
# `behavior` is Kubernetes' own and held to its schema below; a trigger's metadata is text throughout.
SCALED_OBJECT = just({
    "scaleTargetRef": just({"name": STRING}),
    "minReplicaCount": COUNT,
    "maxReplicaCount": COUNT,
    "triggers": some(just({
        "type": {"enum": ["prometheus", "cpu"]},
        "metricType": {"enum": ["AverageValue", "Utilization"]},
        "metadata": LABELS,
    })),
}, {
    "pollingInterval": COUNT,
    "fallback": just({"failureThreshold": COUNT, "replicas": COUNT}),
    "advanced": just({"horizontalPodAutoscalerConfig": just({"behavior": {"type": "object"}})}),
})
OURS = {
    "HTTPRoute": object_of("HTTPRoute", "gateway.networking.k8s.io/v1", HTTP_ROUTE),
    "PodMonitor": object_of("PodMonitor", "monitoring.coreos.com/v1", POD_MONITOR),
    "ScaledObject": object_of("ScaledObject", "keda.sh/v1alpha1", SCALED_OBJECT),
}


def validate(thing: dict, version: str):
    """Raises with the object's name and what is wrong with it."""
    try:
        if thing["kind"] in OURS:
            jsonschema.Draft202012Validator(OURS[thing["kind"]]).validate(thing)
            if thing["kind"] == "ScaledObject":
                kubernetes_validate.validate(autoscaler(thing), version, strict=True)
        else:
            used = kubernetes_validate.validate(thing, version, strict=True)
            if used != version and not version.startswith(f"{used}."):
                raise AssertionError(f"there is no schema of {version}, only of {used}")
    except (jsonschema.ValidationError, kubernetes_validate.ValidationError) as error:
        path = ".".join(str(step) for step in error.path)
        raise AssertionError(f"{thing['kind']} {name(thing)}, {version}: {path}: {error.message}") from None
    except kubernetes_validate.SchemaNotFoundError as error:
        raise AssertionError(f"{thing['kind']} {name(thing)}: {error.message}") from None


def autoscaler(scaled: dict) -> dict:
    """What KEDA will make of one, as far as it hands it on."""
    spec = scaled["spec"]
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": spec["scaleTargetRef"]["name"]}
    behavior = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": name(scaled)},
        "spec": {"scaleTargetRef": target, "maxReplicas": spec["maxReplicaCount"], "behavior": behavior},
    }
