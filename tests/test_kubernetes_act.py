"""The manifests of the program that acts, held against the program that they run and against those of the workers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from ops.dev.services import REPOSITORY
from tests.kit.manifests import FOLDER, egress, env_file, kustomization, the
from tests.kit.shell import leadpulse
from worker.automations.file import read_rules
from worker.automations.program import DRAIN_S
from worker.connections.file import read_connections
from worker.settings import ActSettings

NAME = "leadpulse-act"
LABEL = {"app.kubernetes.io/name": NAME}
POD: dict[str, Any] = the("Deployment", NAME)["spec"]["template"]["spec"]
ACT: dict[str, Any] = POD["containers"][0]
WORKER_POD: dict[str, Any] = the("StatefulSet")["spec"]["template"]["spec"]
SECRET: dict[str, str] = the("Secret", NAME)["stringData"]
OWN = {one["name"]: one["value"] for one in ACT["env"]}


def settings() -> ActSettings:
    """Return what the program in the cluster is configured with."""
    return ActSettings.load(env_file(FOLDER / "base/settings.env") | SECRET | OWN)


def test_the_settings_are_those_of_the_program() -> None:
    """A variable that no setting reads is a setting that silently does not apply."""
    assert {*OWN, *(name for name in SECRET if name.startswith("LEADPULSE_"))} <= {
        f"LEADPULSE_{field.upper()}" for field in ActSettings.model_fields
    }
    assert (ACT["args"], leadpulse(*ACT["args"], "--help").returncode) == (["act"], 0)
    sources = [one.get("configMapRef", one.get("secretRef"))["name"] for one in ACT["envFrom"]]
    assert sources == ["leadpulse-settings", NAME], "not the worker's users: this program needs other rights"


def test_the_rules_fit_their_targets_and_the_secrets_are_in_the_secret() -> None:
    """The files are mounted where the settings look. A change of them restarts the processes."""
    connections = read_connections(str(FOLDER / "act/connections.yaml"), SECRET)
    read_rules(str(FOLDER / "act/automations.yaml"), connections)
    theirs = {name for name in SECRET if not name.startswith("LEADPULSE_")}
    assert {name for _, secret in connections.secrets() for name in secret.names()} == theirs
    mounts = {mount["name"]: Path(mount["mountPath"]) for mount in ACT["volumeMounts"]}
    (made,) = kustomization("act")["configMapGenerator"]
    assert (Path(settings().automations), Path(settings().connections)) == tuple(mounts["files"] / one for one in made["files"])
    assert Path(settings().documents) == mounts["documents"]
    assert made["name"] == POD["volumes"][0]["configMap"]["name"]
    assert "options" not in made, "without a hash in its name, a change would restart nothing"


def test_the_pod_can_do_as_little_harm_as_a_worker() -> None:
    """By the same user, with nothing to write to, and from the same image."""
    for name in ("securityContext", "automountServiceAccountToken", "enableServiceLinks", "serviceAccountName"):
        assert POD[name] == WORKER_POD[name]
    assert ACT["securityContext"] == WORKER_POD["containers"][0]["securityContext"]
    assert all(mount["readOnly"] is True for mount in ACT["volumeMounts"])
    assert kustomization("act")["images"] == kustomization("base")["images"]
    assert POD["terminationGracePeriodSeconds"] > DRAIN_S + 10


def test_every_selector_means_these_pods_alone() -> None:
    """A selector that takes workers along would count them."""
    deployment = the("Deployment", NAME)["spec"]
    assert deployment["template"]["metadata"]["labels"] == LABEL
    selectors = [deployment["selector"], POD["topologySpreadConstraints"][0]["labelSelector"]]
    selectors += [the(kind, NAME)["spec"]["selector"] for kind in ("PodDisruptionBudget", "PodMonitor")]
    selectors += [the("NetworkPolicy", NAME)["spec"]["podSelector"]]
    assert selectors == [{"matchLabels": LABEL}] * len(selectors)


def test_every_port_is_the_one_that_the_program_serves() -> None:
    """A number in the settings and the container; a name everywhere else."""
    assert ACT["ports"] == [{"name": "pages", "containerPort": settings().metrics_port}]
    probes = {name: ACT[name]["httpGet"] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert [(one["port"], one["path"]) for one in probes.values()] == [
        ("pages", "/livez"), ("pages", "/livez"), ("pages", "/readyz"),
    ]  # fmt: skip
    (endpoint,) = the("PodMonitor", NAME)["spec"]["podMetricsEndpoints"]
    assert (endpoint["port"], endpoint["path"]) == ("pages", "/metrics")
    compose = YAML(typ="safe").load(REPOSITORY / "ops/prometheus/prometheus.yml")
    assert NAME in {one["job_name"] for one in compose["scrape_configs"]}


def test_the_network_policy_lets_it_reach_vendors_and_mail_servers() -> None:
    """What workers reach, and TLS outside of the cluster: no private network, and no cloud's metadata."""
    policy = the("NetworkPolicy", NAME)
    reached = egress(policy)
    assert reached.pop("0.0.0.0/0") == {("TCP", 443), ("TCP", 465), ("TCP", 587)}
    assert reached == egress(the("NetworkPolicy"))
    (block,) = [rule["to"][0]["ipBlock"] for rule in policy["spec"]["egress"] if "ipBlock" in rule["to"][0]]
    assert {"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16"} <= set(block["except"])
