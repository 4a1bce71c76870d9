"""The collector's manifests, held against the program that they run and against those of the workers."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from ruamel.yaml import YAML

from ops.dev.services import REPOSITORY
from tests.kit.collected import served
from tests.kit.manifests import EXTENSIONS, FOLDER, egress, env_file, kustomization, the
from tests.kit.shell import leadpulse
from worker.collector.application import application
from worker.collector.program import DRAIN_S, UNREADY_S
from worker.connections.file import read_connections
from worker.settings import CollectSettings

NAME = "leadpulse-collector"
LABEL = {"app.kubernetes.io/name": NAME}
POD: dict[str, Any] = the("Deployment", NAME)["spec"]["template"]["spec"]
COLLECTOR: dict[str, Any] = POD["containers"][0]
WORKER_POD: dict[str, Any] = the("StatefulSet")["spec"]["template"]["spec"]
SECRET: dict[str, str] = the("Secret", NAME)["stringData"]
OWN = {one["name"]: one["value"] for one in COLLECTOR["env"]}


def settings() -> CollectSettings:
    """Return what a collector in the cluster is told."""
    return CollectSettings.load(env_file(FOLDER / "base/settings.env") | SECRET | OWN)


def test_a_collector_is_told_settings_that_it_has() -> None:
    """A variable that no setting reads is a setting that silently does not apply."""
    assert {*OWN, *(name for name in SECRET if name.startswith("LEADPULSE_"))} <= {
        f"LEADPULSE_{field.upper()}" for field in CollectSettings.model_fields
    }
    assert settings().collect_host == "0.0.0.0", "the loopback interface is not where the Service asks"
    done = leadpulse(*COLLECTOR["args"], "--help")
    assert (COLLECTOR["args"], done.returncode) == (["collect"], 0)


def test_the_connections_are_right_and_their_secrets_are_in_the_secret() -> None:
    """The file is mounted where the setting looks; a change of it restarts the collectors, which read it at their start."""
    file = FOLDER / "collector/connections.yaml"
    connections = read_connections(str(file), SECRET)
    theirs = {name for name in SECRET if not name.startswith("LEADPULSE_")}
    assert {name for _, secret in connections.secrets() for name in secret.names()} == theirs
    mounts = {mount["name"]: mount for mount in COLLECTOR["volumeMounts"]}
    assert Path(settings().connections) == Path(mounts["connections"]["mountPath"]) / file.name
    volumes = {volume["name"]: volume for volume in POD["volumes"]}
    (made,) = kustomization("collector")["configMapGenerator"]
    assert (made["name"], made["files"]) == (volumes["connections"]["configMap"]["name"], [file.name])
    assert "options" not in made, "without a hash in its name, a change would restart nothing"
    sources = [one.get("configMapRef", one.get("secretRef"))["name"] for one in COLLECTOR["envFrom"]]
    assert sources == ["leadpulse-settings", NAME], "not the worker's users: a collector needs fewer rights"
    assert SECRET["LEADPULSE_KAFKA_USER"] != the("Secret")["stringData"]["LEADPULSE_KAFKA_USER"]


def test_the_pod_can_do_as_little_harm_as_a_worker() -> None:
    """By the same user, with nothing to write to, and from the same image."""
    for name in ("securityContext", "automountServiceAccountToken", "enableServiceLinks", "serviceAccountName"):
        assert POD[name] == WORKER_POD[name]
    assert COLLECTOR["securityContext"] == WORKER_POD["containers"][0]["securityContext"]
    assert "command" not in COLLECTOR
    assert all(mount["readOnly"] is True for mount in COLLECTOR["volumeMounts"])
    assert {mount["name"] for mount in COLLECTOR["volumeMounts"]} == {volume["name"] for volume in POD["volumes"]}
    assert kustomization("collector")["images"] == kustomization("base")["images"]
    assert COLLECTOR["image"] == WORKER_POD["containers"][0]["image"]


def test_everybody_means_the_collectors_and_no_worker() -> None:
    """A selector that takes workers along would send them webhooks."""
    deployment = the("Deployment", NAME)["spec"]
    assert deployment["template"]["metadata"]["labels"] == LABEL
    selectors = [deployment["selector"], POD["topologySpreadConstraints"][0]["labelSelector"]]
    selectors += [the(kind, NAME)["spec"]["selector"] for kind in ("PodDisruptionBudget", "PodMonitor")]
    selectors += [the("NetworkPolicy", NAME)["spec"]["podSelector"]]
    assert selectors == [{"matchLabels": LABEL}] * len(selectors)
    assert the("Service", NAME)["spec"]["selector"] == LABEL
    assert LABEL != {"app.kubernetes.io/name": "leadpulse"}


def test_every_port_is_one_that_the_collector_serves() -> None:
    """A number in the settings and the container; a name everywhere else."""
    told = settings()
    assert COLLECTOR["ports"] == [
        {"name": "http", "containerPort": told.collect_port},
        {"name": "pages", "containerPort": told.metrics_port},
    ]
    (service,) = the("Service", NAME)["spec"]["ports"]
    assert service["targetPort"] == "http"
    ports = [[one["port"] for one in rule["ports"]] for rule in the("NetworkPolicy", NAME)["spec"]["ingress"]]
    assert ports == [["http"], ["pages"]]
    (endpoint,) = the("PodMonitor", NAME)["spec"]["podMetricsEndpoints"]
    assert (endpoint["port"], endpoint["path"]) == ("pages", "/metrics")


def test_probes_ask_the_port_that_takes_events() -> None:
    """It must answer there; a collector that waits for Kafka is alive."""
    probes = {name: COLLECTOR[name]["httpGet"] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert {one["port"] for one in probes.values()} == {"http"}
    assert [one["path"] for one in probes.values()] == ["/livez", "/livez", "/readyz"]


def test_a_collector_is_given_the_time_to_answer() -> None:
    """First until no request comes any more, then for those on their way, then for its clients to close."""
    waits = COLLECTOR["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert waits >= 5
    assert POD["terminationGracePeriodSeconds"] >= waits + UNREADY_S + DRAIN_S + 5


def test_the_memory_limit_is_above_what_waits_for_kafka() -> None:
    """Requests that wait are there as they came, as a record, and in the producer."""
    limit = COLLECTOR["resources"]["limits"]
    assert limit["memory"].endswith("Mi")
    assert int(limit["memory"].removesuffix("Mi")) * 1024 * 1024 > 4 * settings().collect_queue + 150_000_000
    assert "cpu" not in limit


def test_the_number_of_collectors_is_the_autoscaler_s() -> None:
    """A number in the Deployment would reset it at each apply. More mappers than partitions would have nothing to map."""
    scaler = the("HorizontalPodAutoscaler", NAME)["spec"]
    assert scaler["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": NAME}
    assert "replicas" not in the("Deployment", NAME)["spec"]
    partitions = int(env_file(FOLDER / "base/settings.env")["LEADPULSE_PARTITIONS"])
    assert 2 <= scaler["minReplicas"] < scaler["maxReplicas"] <= partitions
    (metric,) = scaler["metrics"]
    assert metric["resource"]["name"] in COLLECTOR["resources"]["requests"], "utilization is a share of the request"


def test_the_network_policy_lets_a_collector_reach_vendors_but_nothing_more_inside() -> None:
    """What workers reach, and HTTPS outside of the cluster: no address of a private network, and no cloud's metadata."""
    policy = the("NetworkPolicy", NAME)
    reached = egress(policy)
    assert reached.pop("0.0.0.0/0") == {("TCP", 443)}
    assert reached == egress(the("NetworkPolicy"))
    (block,) = [rule["to"][0]["ipBlock"] for rule in policy["spec"]["egress"] if "ipBlock" in rule["to"][0]]
    assert {"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16"} <= set(block["except"])


async def test_the_ingress_leads_to_every_endpoint_and_keeps_out_health() -> None:
    """Under the host that vendors sign."""
    spec = the("Ingress", NAME)["spec"]
    (rule,) = spec["rules"]
    url = read_connections(str(FOLDER / "collector/connections.yaml")).public_url
    assert url is not None
    assert urlsplit(url).hostname == rule["host"] == spec["tls"][0]["hosts"][0]
    paths = rule["http"]["paths"]
    prefixes = tuple(one["path"] for one in paths)
    async with served("") as collector:
        asked = {one.canonical for one in application(collector.collector).router.resources()}
    assert {path for path in asked if not path.startswith(prefixes)} == {"/livez", "/readyz"}
    assert all(any(path.startswith(prefix) for path in asked) for prefix in prefixes)
    (port,) = the("Service", NAME)["spec"]["ports"]
    assert all(one["backend"] == {"service": {"name": NAME, "port": {"name": port["name"]}}} for one in paths)
    notes = the("Ingress", NAME)["metadata"]["annotations"]
    assert notes["nginx.ingress.kubernetes.io/enable-access-log"] == "false", "secrets are in queries"


def test_the_page_of_the_dashboards_finds_the_collectors() -> None:
    """Compose's Prometheus scrapes them under the same job as the PodMonitor names."""
    monitor = the("PodMonitor", NAME)["spec"]
    compose = YAML(typ="safe").load(REPOSITORY / "ops/prometheus/prometheus.yml")
    assert LABEL[monitor["jobLabel"]] in {one["job_name"] for one in compose["scrape_configs"]}


@pytest.mark.parametrize("base", ["base", "operators"])
def test_kustomize_itself_builds_an_overlay_with_the_collector(base: str, tmp_path: Path) -> None:
    """As an operator writes it: the settings' name is filled in, and the image has a tag."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("no `kubectl` here: the files are checked by the other tests alone")
    shutil.copytree(FOLDER, tmp_path / "kubernetes")
    overlay = tmp_path / "kubernetes/mine"
    overlay.mkdir()
    (overlay / "kustomization.yaml").write_text(
        "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nnamespace: leadpulse\n"
        f"resources: [../{base}]\ncomponents: [../collector, ../checkpoints]\n"
    )
    done = subprocess.run([kubectl, "kustomize", str(overlay)], capture_output=True, text=True)
    if "unknown field" in done.stderr and "1.20" in subprocess.run([kubectl, "version"], capture_output=True, text=True).stdout:
        pytest.skip("this `kubectl` is of 2020, its kustomize too old: the files are checked by the other tests alone")
    assert done.returncode == 0, done.stderr
    built = {(one["kind"], one["metadata"]["name"]): one for one in YAML(typ="safe").load_all(done.stdout)}
    assert {one["metadata"].get("namespace") for (kind, _), one in built.items() if kind != "Namespace"} == {"leadpulse"}
    pod = built["Deployment", NAME]["spec"]["template"]["spec"]
    (collector,) = pod["containers"]
    assert ":" in collector["image"]
    maps = {name for kind, name in built if kind == "ConfigMap"}
    assert collector["envFrom"][0]["configMapRef"]["name"] in maps
    assert pod["volumes"][0]["configMap"]["name"] in maps
    assert {one["apiVersion"] for one in built.values()} >= ({"apps/v1"} if base == "base" else {"apps/v1", *EXTENSIONS})
