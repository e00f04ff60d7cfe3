"""NetworkPolicies evaluated: may this end open a connection to that one?"""

import ipaddress

from manifests import flag, labels, matches, name, of_kind, port_number, workloads

# Who else is in a cluster, besides our own pods: labels, namespace, or an address outside of it.
STRANGERS = {
    "stranger": {"labels": {"app": "other"}, "namespace": "elsewhere"},
    "neighbour": {"labels": {"app": "other"}, "namespace": "baton"},
    "ingress": {"labels": {"app": "proxy"}, "namespace": "ingress-nginx"},
    "gateway-proxy": {"labels": {"app": "proxy"}, "namespace": "gateway-system"},
    "prometheus": {"labels": {"app.kubernetes.io/name": "prometheus"}, "namespace": "monitoring"},
    "monitoring-other": {"labels": {"app": "grafana"}, "namespace": "monitoring"},
    "dns": {"labels": {"k8s-app": "kube-dns"}, "namespace": "kube-system"},
    "collector": {"labels": {"app": "otel-collector"}, "namespace": "observability"},
    "internet": {"address": "203.0.113.7"},
    "metadata": {"address": "169.254.169.254"},
    "private": {"address": "10.1.2.3"},
}


class Net:
    """The pods and policies of one rendering, whose objects stand in the namespace `baton` or in none."""

    def __init__(self, objects: list):
        self.policies = of_kind(objects, "NetworkPolicy")
        self.workloads = {name(it): it for it in workloads(objects)}
        self.ends = dict(STRANGERS)
        for its_name, workload in self.workloads.items():
            self.ends[its_name] = {"labels": labels(workload), "namespace": "baton", "workload": workload}

    def allows(self, source: str, target: str, port: int, protocol="TCP") -> bool:
        """Both ends must agree, where one is closed."""
        return self.agrees(source, target, port, protocol, "Egress") and self.agrees(target, source, port, protocol, "Ingress")

    def agrees(self, here: str, other: str, port: int, protocol: str, way: str) -> bool:
        end = self.ends[here]
        if "workload" not in end:
            return True  # nobody wrote policies for the rest of the world here
        mine = [it for it in self.policies if way in it["spec"]["policyTypes"] and matches(it["spec"]["podSelector"], end["labels"])]
        served = self.ends[other] if way == "Egress" else end
        return not mine or any(
            self.rule_allows(rule, other, served, port, protocol, "to" if way == "Egress" else "from")
            for policy in mine
            for rule in policy["spec"].get(way.lower(), [])
        )

    def rule_allows(self, rule: dict, other: str, served: dict, port: int, protocol: str, word: str) -> bool:
        peers, ports = rule.get(word), rule.get("ports")
        right_peer = peers is None or any(self.is_peer(peer, self.ends[other]) for peer in peers)
        return right_peer and (ports is None or any(self.is_port(it, served, port, protocol) for it in ports))

    @staticmethod
    def is_port(rule: dict, served: dict, port: int, protocol: str) -> bool:
        if rule.get("protocol", "TCP") != protocol:
            return False
        if isinstance(rule["port"], str):
            return "workload" in served and port_number(served["workload"], rule["port"]) == port
        return rule["port"] == port

    @staticmethod
    def is_peer(peer: dict, end: dict) -> bool:
        if "ipBlock" in peer:
            if "address" not in end:
                return False  # a pod's address is not known here, and no block of ours means pods
            block, address = peer["ipBlock"], ipaddress.ip_address(end["address"])
            excepted = any(address in ipaddress.ip_network(cidr) for cidr in block.get("except", []))
            return address in ipaddress.ip_network(block["cidr"]) and not excepted
        if "address" in end:
            return False
        if "namespaceSelector" in peer:
            right_place = matches(peer["namespaceSelector"], {"kubernetes.io/metadata.name": end["namespace"]})
        else:
            right_place = end["namespace"] == "baton"
        return right_place and matches(peer.get("podSelector"), end["labels"])

    def arrows(self, ports: dict) -> set:
        """Every (source, target, port) that is open, `ports` naming those that each target is asked for."""
        return {
            (source, target, port)
            for target, numbers in ports.items()
            if target in self.ends
            for port in numbers
            for source in self.ends
            if (source in self.workloads or target in self.workloads)
            if self.allows(source, target, port, "UDP" if port == 53 else "TCP")
        }


def listening(objects: list) -> dict:
    """The ports that our roles listen on, by their own command lines."""
    return {
        name(it): [int(flag(it, which).rsplit(":", 1)[1]) for which in ("listen", "internal-listen")]
        for it in workloads(objects)
        if name(it) in ("baton-gateway", "baton-worker")
    }
