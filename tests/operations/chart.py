"""deploy/helm/kvasir, rendered by helm."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from services import ROOT

CHART = ROOT / "deploy/helm/kvasir"
HELM = ROOT / "build/tools/npm/helm"
Values = dict[str, Any]
Manifest = dict[str, Any]

REDIS: Values = {"store": "redis"}
TLS: Values = {"secret": "certificate", "clientCaSecret": "clients"}
PLACED: Values = {
    "nodeSelector": {"pool": "kvasir"},
    "tolerations": [{"key": "kvasir", "operator": "Exists"}],
    "affinity": {"nodeAffinity": {}},
}
# What the chart is tried with.
SETS: dict[str, Values] = {
    "as it is": {},
    "the embedded model": {"weights": {"model": ""}},
    "three replicas": {"sessions": REDIS, "model": {"replicas": 3}},
    "an own Redis": {"sessions": {"store": "redis", "redis": {"urlSecret": "redis-of-ours"}}},
    "a GPU": {"model": {"gpus": 1, "runtimeClassName": "nvidia", "kvMemory": "8GiB"}},
    "open to the world": {
        "proxy": {"tls": TLS, "service": {"type": "LoadBalancer", "port": 443}},
        "sessions": {"store": "redis", "redis": {"passwordSecret": "redis-password"}},
    },
    "with keys": {
        "auth": {"apiKeysSecret": "keys-of-ours"},
        "proxy": {"tls": {"secret": "certificate"}, "service": {"type": "LoadBalancer"}},
    },
    "with tokens": {
        "auth": {"jwt": {"keysSecret": "key-set", "audience": "kvasir"}},
        "proxy": {"tls": {"secret": "certificate"}, "service": {"type": "LoadBalancer"}},
    },
    "with keys and tokens": {
        "auth": {
            "apiKeysSecret": "keys-of-ours",
            "jwt": {
                "keysSecret": "key-set",
                "audience": "kvasir",
                "issuer": "https://login.example",
                "tenantClaim": "team",
            },
        },
    },
    "with a gateway": {"gateway": {"enabled": True, "replicas": 2}},
    "with a gateway and certificates": {
        "gateway": {
            "enabled": True,
            "extraFlags": ["--max-sessions=10000"],
            "tls": {"caSecret": "authority", "certificateSecret": "certificate-of-ours"},
        }
        | PLACED,
        "proxy": {"tls": TLS},
        "networkPolicy": {"clients": [{"namespaceSelector": {"matchLabels": {"team": "a"}}}]},
    },
    "by need": {"sessions": REDIS, "autoscaling": {"enabled": True, "minReplicas": 2}},
    "all that can be set": {
        "image": {"repository": "registry.example/kvasir", "tag": "1", "pullSecrets": ["registry"]},
        "weights": {
            "revision": "0123abc",
            "endpoint": "https://hub.example",
            "redirectHosts": "files.example",
            "tokenSecret": "hub",
            "existingClaim": "models",
        },
        "sessions": {"durability": "token", "ttl": 86400, "storageClass": "fast", "size": "1Ti"},
        "model": {"extraFlags": ["--max-queue=256", "--deterministic"], "drainSeconds": 60}
        | PLACED,
        "tokenizer": {"extraFlags": ["--threads=2"]} | PLACED,
        "proxy": {"service": {"annotations": {"a": "b"}}, "stopSeconds": 20} | PLACED,
        "monitoring": {"enabled": True, "labels": {"release": "prometheus"}},
        "networkPolicy": {"clients": [{"namespaceSelector": {"matchLabels": {"team": "a"}}}]},
        "otlpEndpoint": "http://collector:4318",
        "clusterDomain": "example.internal",
    },
}


def helm(
    verb: str, values: Values, *flags: str, chart: Path = CHART
) -> subprocess.CompletedProcess[str]:
    name = ["kvasir"] if verb == "template" else []
    command = [HELM, verb, *name, chart, "--namespace=chat", "--values=-", *flags]
    return subprocess.run(
        command, input=json.dumps(values), capture_output=True, text=True, check=False
    )


def render(values: Values) -> list[Manifest]:
    result = helm("template", values)
    if result.returncode != 0:
        raise AssertionError(result.stderr)
    return [manifest for manifest in yaml.safe_load_all(result.stdout) if manifest]


def find(manifests: list[Manifest], kind: str, name: str) -> Manifest:
    return next(
        each for each in manifests if each["kind"] == kind and each["metadata"]["name"] == name
    )


def workloads(manifests: list[Manifest]) -> dict[str, Manifest]:
    """Deployments and StatefulSets by name."""
    kinds = ("Deployment", "StatefulSet")
    return {each["metadata"]["name"]: each for each in manifests if each["kind"] in kinds}


def pods(manifests: list[Manifest]) -> dict[str, dict[str, Any]]:
    """Their pods."""
    return {name: each["spec"]["template"] for name, each in workloads(manifests).items()}


def containers(pod: dict[str, Any]) -> list[dict[str, Any]]:
    return pod["spec"].get("initContainers", []) + pod["spec"]["containers"]


def references(part: Any) -> Iterator[tuple[str, str]]:
    """Kind and name of each object that a part of a manifest needs."""
    if isinstance(part, list):
        for each in part:
            yield from references(each)
    elif isinstance(part, dict):
        for key, value in part.items():
            match key:
                case "secretKeyRef":
                    yield "Secret", value["name"]
                case "secretName":
                    yield "Secret", value
                case "imagePullSecrets":
                    yield from (("Secret", each["name"]) for each in value)
                case "configMap":
                    yield "ConfigMap", value["name"]
                case "claimName":
                    yield "PersistentVolumeClaim", value
                case _:
                    yield from references(value)
