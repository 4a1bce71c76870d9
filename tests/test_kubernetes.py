"""The manifests in ops/kubernetes, held against Kubernetes' own schemas and against the program that they run."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import kubernetes_validate
import pytest
from ruamel.yaml import YAML

from ops.dev.services import REPOSITORY
from tests.kit.manifests import (
    EXTENSIONS,
    FOLDER,
    MANIFESTS,
    OBJECTS,
    VERSIONS,
    documents,
    egress,
    env_file,
    kustomization,
    the,
)
from tests.kit.shell import leadpulse
from worker.app import DRAIN_S
from worker.core.contract.event_types import INPUT_TOPICS
from worker.processes import GRACE_S
from worker.settings import Settings

DOCKERFILE = (REPOSITORY / "Dockerfile").read_text()
LABEL = {"app.kubernetes.io/name": "leadpulse"}
EVENT_CPU_US = 37
"""µs of CPU an event, docs/benchmarks.md."""


SETTINGS = env_file(FOLDER / "base/settings.env")
SECRET: dict[str, str] = the("Secret")["stringData"]
POD: dict[str, Any] = the("StatefulSet")["spec"]["template"]["spec"]
WORKER: dict[str, Any] = POD["containers"][0]
TOPICS_POD: dict[str, Any] = the("Job")["spec"]["template"]["spec"]
TRIGGER: dict[str, Any] = the("ScaledObject")["spec"]["triggers"][0]


def _settings() -> Settings:
    """Return what a worker in the cluster is told."""
    return Settings.load(SETTINGS | SECRET)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("made", [made for _, made in OBJECTS], ids=[f"{path.stem}-{made['kind']}" for path, made in OBJECTS])
def test_kubernetes_own_schemas_accept_every_object(made: Mapping[str, Any], version: str) -> None:
    """With no field that they do not know: the API server drops a misspelt one in silence."""
    if made["apiVersion"] in EXTENSIONS:
        return
    kubernetes_validate.validate(dict(made), version, strict=True)


def test_the_schemas_would_tell_of_a_misspelt_field() -> None:
    """Else the test above could not fail."""
    wrong = documents(FOLDER / "base/poddisruptionbudget.yaml")[0]
    wrong["spec"]["maxUnavailble"] = wrong["spec"].pop("maxUnavailable")
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSIONS[-1], strict=True)


def test_every_manifest_is_part_of_a_kustomization_and_every_part_is_there() -> None:
    """A file that nobody names is never applied. Some are for hands: examples, and the Job that makes topics."""
    named = {
        FOLDER / folder / name
        for folder in ("base", "operators", "checkpoints", "collector", "act", "archive")
        for name in kustomization(folder)["resources"]
    }
    by_hand = {path for path in MANIFESTS if ".example." in path.name} | {FOLDER / "topics-job.yaml"}
    assert {path for path in named if path.suffix} == set(MANIFESTS) - by_hand
    made = {generated["name"]: generated for generated in kustomization("base")["configMapGenerator"]}
    assert made.keys() == {"leadpulse-settings", "leadpulse-grid"}
    assert made["leadpulse-grid"]["options"]["disableNameSuffixHash"], "a hash in its name would restart all for a grid"
    for one in made.values():
        for file in one.get("files", []) + one.get("envs", []):
            assert (FOLDER / "base" / file).exists()


@pytest.mark.parametrize("folder", ["base", "operators"])
def test_kustomize_itself_builds_the_manifests(folder: str) -> None:
    """What is applied is what it prints: every reference renamed, the image with a tag, the replicas left to KEDA."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("no `kubectl` here: the files are checked by the other tests alone")
    done = subprocess.run([kubectl, "kustomize", str(FOLDER / folder)], capture_output=True, text=True)
    if "unknown field" in done.stderr and "1.20" in subprocess.run([kubectl, "version"], capture_output=True, text=True).stdout:
        pytest.skip("this `kubectl` is of 2020, its kustomize too old: the files are checked by the other tests alone")
    assert done.returncode == 0, done.stderr
    objects = [one for one in YAML(typ="safe").load_all(done.stdout) if one["kind"] not in ("ConfigMap", "PodMonitor")]
    built = {one["kind"]: one for one in objects}
    assert {one["metadata"].get("namespace") for kind, one in built.items() if kind != "Namespace"} == {"leadpulse"}
    pods = built["StatefulSet"]["spec"]
    assert ("replicas" in pods) == (folder == "base")
    (worker,) = pods["template"]["spec"]["containers"]
    assert worker["image"] == TOPICS_POD["containers"][0]["image"]
    assert re.fullmatch(r"leadpulse-settings-\w+", worker["envFrom"][0]["configMapRef"]["name"])
    for one in built.values():
        if one["apiVersion"] not in EXTENSIONS:
            kubernetes_validate.validate(one, VERSIONS[-1], strict=True)


def test_manifests_set_only_settings_that_exist_and_that_the_worker_takes() -> None:
    """A variable that no setting reads is a setting that silently does not apply."""
    told = set(SETTINGS) | set(SECRET) | {one["name"] for one in TOPICS_POD["containers"][0]["env"]}
    told |= set(re.findall(r"LEADPULSE_[A-Z_]+[A-Z]", (FOLDER / "base/settings.env").read_text()))
    known = {f"LEADPULSE_{field.upper()}" for field in Settings.model_fields}
    assert told <= known, sorted(told - known)
    settings = _settings()
    assert "change-me" not in repr(settings), "secrets do not show"
    assert not {"LEADPULSE_REDIS", "LEADPULSE_KAFKA_PASSWORD"} & set(SETTINGS), "they may carry a password"


def test_the_job_that_makes_topics_is_told_what_workers_are_told() -> None:
    """Topics of another namespace or with fewer partitions would be refused by every worker."""
    told = {one["name"]: one["value"] for one in TOPICS_POD["containers"][0]["env"]}
    assert told.items() <= SETTINGS.items()
    needed = {
        "LEADPULSE_KAFKA",
        "LEADPULSE_KAFKA_SECURITY",
        "LEADPULSE_KAFKA_SASL",
        "LEADPULSE_NAMESPACE",
        "LEADPULSE_PARTITIONS",
    }
    assert told.keys() == needed


@pytest.mark.parametrize("pod", [POD, TOPICS_POD], ids=["worker", "topics"])
def test_containers_run_commands_of_the_image_by_its_user(pod: Mapping[str, Any]) -> None:
    """The image's entrypoint is kept; its arguments are the command line's."""
    assert 'ENTRYPOINT ["leadpulse"]' in DOCKERFILE
    (container,) = pod["containers"]
    assert "command" not in container
    done = leadpulse(*container["args"], "--help")
    assert done.returncode == 0, done.stderr
    (user,) = re.findall(r"^USER (\d+)$", DOCKERFILE, re.MULTILINE)
    assert pod["securityContext"]["runAsUser"] == int(user)


def test_the_image_carries_the_version_of_the_program() -> None:
    """`latest` would be another program after the next restart of a pod."""
    version = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["version"]
    (image,) = kustomization("base")["images"]
    assert (image["name"], image["newTag"]) == (WORKER["image"], version)
    assert TOPICS_POD["containers"][0]["image"] == f"{WORKER['image']}:{version}"


@pytest.mark.parametrize("pod", [POD, TOPICS_POD], ids=["worker", "topics"])
def test_pods_can_do_little_harm(pod: Mapping[str, Any]) -> None:
    """Kubernetes' `restricted` standard, which the namespace enforces, and nothing to write to."""
    assert the("Namespace")["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False, "a Service's variables begin with LEADPULSE_ too"
    for container in pod["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert "memory" in container["resources"]["limits"]
        for mount in container["volumeMounts"]:
            assert mount["readOnly"] is True


def test_every_port_is_the_one_that_the_worker_serves() -> None:
    """One number in the image, the settings and the container; a name everywhere else."""
    settings = _settings()
    (port,) = WORKER["ports"]
    assert port == {"name": "pages", "containerPort": settings.metrics_port}
    assert f"EXPOSE {settings.metrics_port}\n" in DOCKERFILE
    assert settings.metrics_host == "0.0.0.0", "the loopback interface is not where the kubelet asks"
    (service,) = the("Service")["spec"]["ports"]
    assert service == {"name": "pages", "port": settings.metrics_port, "targetPort": "pages"}
    (ingress,) = the("NetworkPolicy")["spec"]["ingress"]
    assert [one["port"] for one in ingress["ports"]] == ["pages"]
    (endpoint,) = the("PodMonitor")["spec"]["podMetricsEndpoints"]
    assert (endpoint["port"], endpoint["path"]) == ("pages", "/metrics")


def test_probes_ask_for_pages_that_there_are() -> None:
    """A worker that waits for Redis is alive and not ready: it must not be restarted for it."""
    paths = {name: WORKER[name]["httpGet"]["path"] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert paths == {"startupProbe": "/livez", "livenessProbe": "/livez", "readinessProbe": "/readyz"}
    assert all(WORKER[name]["httpGet"]["port"] == "pages" for name in paths)
    source = (REPOSITORY / "worker/faust_host.py").read_text()
    for path in {*paths.values(), "/metrics"}:
        assert f'web.get("{path}"' in source


def test_a_worker_is_given_the_time_to_drain() -> None:
    """Killed earlier, its partitions would wait for the session's end instead of moving at once."""
    assert POD["terminationGracePeriodSeconds"] >= GRACE_S > DRAIN_S
    assert POD["terminationGracePeriodSeconds"] >= 10 + 5


def test_the_memory_limit_is_above_what_a_worker_can_come_to() -> None:
    """The bound in docs/benchmarks.md, with all partitions on one worker and three brokers."""
    formula = "90 MB + P × (T × 1 MB + 26 MB) + B × 16 MB"
    assert formula in (REPOSITORY / "docs/benchmarks.md").read_text(), "the bound has changed: change what follows"
    settings = _settings()
    bound_mb = 90 + settings.partitions * ((len(INPUT_TOPICS) + 1) * 1 + 26) + 3 * 16
    limit = WORKER["resources"]["limits"]["memory"]
    assert limit.endswith("Mi")
    assert bound_mb == 394
    assert int(limit.removesuffix("Mi")) * 1.048576 > bound_mb
    assert "cpu" not in WORKER["resources"]["limits"], "a throttled worker misses its heartbeats"


def test_everybody_means_the_same_pods() -> None:
    """A selector that selects nothing is silent."""
    stateful = the("StatefulSet")["spec"]
    assert stateful["template"]["metadata"]["labels"] == LABEL
    assert stateful["serviceName"] == the("Service")["metadata"]["name"]
    assert POD["serviceAccountName"] == the("ServiceAccount")["metadata"]["name"]
    assert the("Service")["spec"]["selector"] == LABEL
    selectors = [stateful["selector"], POD["topologySpreadConstraints"][0]["labelSelector"]]
    selectors += [the(kind)["spec"]["selector"] for kind in ("PodDisruptionBudget", "PodMonitor")]
    selectors += [the("NetworkPolicy")["spec"]["podSelector"]]
    assert selectors == [{"matchLabels": LABEL}] * len(selectors)
    assert the("PodDisruptionBudget")["spec"]["maxUnavailable"] == 1


def test_the_grid_is_a_file_of_the_config_map_and_is_renewed_in_place() -> None:
    """Until it is made yours it is the preset; a folder is mounted, because a single file is never renewed."""
    assert (FOLDER / "base/grid.yaml").read_bytes() == (REPOSITORY / "grids/saas-b2b.yaml").read_bytes()
    mounts = {mount["name"]: mount for mount in WORKER["volumeMounts"]}
    assert Path(_settings().grid) == Path(mounts["grid"]["mountPath"]) / "grid.yaml"
    assert "subPath" not in mounts["grid"]
    volumes = {volume["name"]: volume for volume in POD["volumes"]}
    assert volumes.keys() == mounts.keys()
    assert volumes["grid"]["configMap"]["name"] == "leadpulse-grid"


def test_the_network_policy_lets_a_worker_reach_what_it_is_told_of_and_nothing_else() -> None:
    """Kafka and Redis by the addresses in the settings, and names."""
    kafka = urlsplit(f"//{_settings().kafka}")
    redis = urlsplit(_settings().redis.get_secret_value())
    expected = {"kube-system": {("UDP", 53), ("TCP", 53)}}
    for address in (kafka, redis):
        assert address.hostname is not None
        assert address.port is not None
        expected[address.hostname.split(".")[1]] = {("TCP", address.port)}
    assert egress(the("NetworkPolicy")) == expected


def test_keda_asks_the_brokers_and_the_group_of_the_workers() -> None:
    """And as the same user; another group's lag would scale for another's backlog."""
    settings, told = _settings(), TRIGGER["metadata"]
    assert TRIGGER["type"] == "kafka"
    assert told.keys() == {"bootstrapServers", "consumerGroup", "lagThreshold", "version", "sasl", "tls"}
    assert (told["bootstrapServers"], told["consumerGroup"]) == (settings.kafka, settings.group)
    assert told["sasl"] == settings.kafka_sasl.lower().replace("-", "_").replace("scram_sha_", "scram_sha")
    assert (told["tls"] == "enable") == ("SSL" in settings.kafka_security)
    assert tuple(map(int, told["version"].split("."))) >= (2, 1, 0), "Kafka 4 knows no requests from before"
    assert all(isinstance(value, str) for value in told.values()), "KEDA takes texts alone"
    keys = {one["parameter"]: one for one in the("TriggerAuthentication")["spec"]["secretTargetRef"]}
    assert {name: one["key"] for name, one in keys.items()} == {
        "username": "LEADPULSE_KAFKA_USER",
        "password": "LEADPULSE_KAFKA_PASSWORD",
    }
    assert all(one["name"] == the("Secret")["metadata"]["name"] and one["key"] in SECRET for one in keys.values())
    assert TRIGGER["authenticationRef"]["name"] == the("TriggerAuthentication")["metadata"]["name"]


def test_keda_never_starts_a_worker_without_a_partition_nor_for_what_is_only_uncommitted() -> None:
    """A worker commits every 10 s where there is no output; what it took since then is no backlog."""
    spec = the("ScaledObject")["spec"]
    target = spec["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("StatefulSet", the("StatefulSet")["metadata"]["name"])
    assert spec["maxReplicaCount"] == _settings().partitions
    assert spec["minReplicaCount"] == the("StatefulSet")["spec"]["replicas"] == 2
    cores = int(WORKER["resources"]["requests"]["cpu"].removesuffix("m")) / 1_000
    uncommitted = _settings().tick_interval * cores * 1e6 / EVENT_CPU_US
    assert int(TRIGGER["metadata"]["lagThreshold"]) > 1.5 * uncommitted
    allowed = {"scaleTargetRef", "minReplicaCount", "maxReplicaCount", "pollingInterval", "advanced", "triggers"}
    assert spec.keys() <= allowed


def test_pods_are_found_and_named_as_rules_and_dashboards_ask() -> None:
    """The label `job` is "leadpulse" in compose's Prometheus and here."""
    monitor = the("PodMonitor")["spec"]
    assert monitor.keys() == {"jobLabel", "selector", "podMetricsEndpoints"}
    assert monitor["jobLabel"] in LABEL
    compose = YAML(typ="safe").load(REPOSITORY / "ops/prometheus/prometheus.yml")
    assert LABEL[monitor["jobLabel"]] in {one["job_name"] for one in compose["scrape_configs"]}


def test_the_component_for_checkpoints_mounts_what_its_setting_names() -> None:
    """One path in the setting, the mount, the image and compose; a claim that every pod may write to."""
    component = kustomization("checkpoints")
    (patch,) = component["patches"]
    operations: list[dict[str, Any]] = YAML(typ="safe").load(patch["patch"])
    values = [operation["value"] for operation in operations]
    (setting,) = component["configMapGenerator"][0]["literals"]
    name, _, path = setting.partition("=")
    assert name == "LEADPULSE_CHECKPOINTS"
    assert {"name": "checkpoints", "mountPath": path} in values
    claim = the("PersistentVolumeClaim", "leadpulse-checkpoints")
    assert {"name": "checkpoints", "persistentVolumeClaim": {"claimName": claim["metadata"]["name"]}} in values
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    user = re.search(r"^USER (\d+)$", DOCKERFILE, re.MULTILINE)
    assert user is not None
    assert int(user[1]) in values
    assert f"install -d -o {user[1]} -m 700 {path}" in DOCKERFILE
    assert f"LEADPULSE_CHECKPOINTS: {path}" in (REPOSITORY / "docker-compose.yml").read_text()
