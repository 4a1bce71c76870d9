"""The manifests in ops/kubernetes, read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from ops.dev.services import REPOSITORY

FOLDER = REPOSITORY / "ops/kubernetes"
NOT_MANIFESTS = ("grid.yaml", "kustomization.yaml", "connections.yaml", "automations.yaml")
EXTENSIONS = {"keda.sh/v1alpha1", "monitoring.coreos.com/v1"}
"""What a cluster knows only where an operator brought it; Kubernetes' own schemas do not have it."""
VERSIONS = ("1.30", "1.37")
"""The oldest and the newest Kubernetes whose schemas the manifests must satisfy."""


def documents(path: Path) -> list[dict[str, Any]]:
    """Return the objects in a file."""
    return list(YAML(typ="safe").load_all(path))


MANIFESTS = {path: documents(path) for path in sorted(FOLDER.rglob("*.yaml")) if path.name not in NOT_MANIFESTS}
OBJECTS = [(path, one) for path, held in MANIFESTS.items() for one in held]


def the(kind: str, name: str = "leadpulse") -> dict[str, Any]:
    """Return the object of *kind* called *name*. A Job with a generated name is that of `leadpulse`."""
    (found,) = [made for _, made in OBJECTS if made["kind"] == kind and made["metadata"].get("name", "leadpulse") == name]
    return found


def kustomization(folder: str) -> dict[str, Any]:
    """Return the kustomization of *folder*."""
    held: dict[str, Any] = YAML(typ="safe").load(FOLDER / folder / "kustomization.yaml")
    return held


def env_file(path: Path) -> dict[str, str]:
    """Return the variables in a file of settings."""
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def egress(policy: Mapping[str, Any]) -> dict[str, set[tuple[str, int]]]:
    """Return the ports that a network policy lets pods reach, by namespace. An address block stands for itself."""
    found: dict[str, set[tuple[str, int]]] = {}
    for rule in policy["spec"]["egress"]:
        (peer,) = rule["to"]
        if "ipBlock" in peer:
            name = peer["ipBlock"]["cidr"]
        else:
            name = peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"]
        found[name] = {(port["protocol"], port["port"]) for port in rule["ports"]}
    return found
