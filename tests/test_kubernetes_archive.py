"""The manifests of the program that archives, held against the program and against those of the workers."""

from __future__ import annotations

from typing import Any

from tests.kit.manifests import FOLDER, egress, env_file, kustomization, the
from tests.kit.shell import leadpulse
from worker.history.program import DRAIN_S
from worker.settings import ArchiveSettings

NAME = "leadpulse-archive"
LABEL = {"app.kubernetes.io/name": NAME}
POD: dict[str, Any] = the("Deployment", NAME)["spec"]["template"]["spec"]
ARCHIVE: dict[str, Any] = POD["containers"][0]
COMPACT: dict[str, Any] = the("CronJob", NAME)["spec"]["jobTemplate"]["spec"]["template"]["spec"]
WORKER_POD: dict[str, Any] = the("StatefulSet")["spec"]["template"]["spec"]
SECRET: dict[str, str] = the("Secret", NAME)["stringData"]
OWN = {one["name"]: one["value"] for one in ARCHIVE["env"]}


def settings() -> ArchiveSettings:
    """Return what the program in the cluster is configured with."""
    return ArchiveSettings.load(env_file(FOLDER / "base/settings.env") | SECRET | OWN)


def test_the_settings_are_those_of_the_program() -> None:
    """A variable that no setting reads is a setting that silently does not apply."""
    assert {*OWN, *(name for name in SECRET if name.startswith("LEADPULSE_"))} <= {
        f"LEADPULSE_{field.upper()}" for field in ArchiveSettings.model_fields
    }
    for container in (ARCHIVE, COMPACT["containers"][0]):
        assert leadpulse(*container["args"], "--help").returncode == 0
        assert container["image"] == kustomization("archive")["images"][0]["name"]
    assert settings().place == COMPACT["containers"][0]["env"][0]["value"]
    sources = [one.get("configMapRef", one.get("secretRef"))["name"] for one in ARCHIVE["envFrom"]]
    assert sources == ["leadpulse-settings", NAME], "not the worker's users: this program needs other rights"


def test_the_pods_can_do_as_little_harm_as_a_worker() -> None:
    """By the same user, with nothing to write to, and in the worker's version."""
    for pod in (POD, COMPACT):
        for name in ("securityContext", "automountServiceAccountToken", "enableServiceLinks", "serviceAccountName"):
            assert pod[name] == WORKER_POD[name]
        assert pod["containers"][0]["securityContext"] == WORKER_POD["containers"][0]["securityContext"]
    assert all(mount["readOnly"] is True for mount in ARCHIVE["volumeMounts"])
    assert kustomization("archive")["images"][0]["newTag"] == kustomization("base")["images"][0]["newTag"]
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
    """And it reaches Kafka and the storage, not Redis."""
    assert ARCHIVE["ports"] == [{"name": "pages", "containerPort": settings().metrics_port}]
    reached = egress(the("NetworkPolicy", NAME))
    assert set(reached) == {"kube-system", "kafka", "0.0.0.0/0"}
    assert reached["0.0.0.0/0"] == {("TCP", 443)}


def test_the_memory_suffices_for_what_waits() -> None:
    """Twice, with a file that is made."""
    assert ARCHIVE["resources"]["limits"]["memory"] == "1536Mi"
    assert 2 * settings().archive_memory + 512 * 1024 * 1024 <= 1536 * 1024 * 1024
