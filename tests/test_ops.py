"""What deploys and builds LeadPulse, held against the code that it deploys and builds."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version
from prometheus_client import CollectorRegistry
from ruamel.yaml import YAML

from ops.dev.kafka_broker import KAFKA_VERSION
from ops.dev.metrics_page import page
from ops.dev.services import REPOSITORY
from worker.automations.file import read_rules
from worker.automations.metrics import ActMetrics
from worker.collector.metrics import CollectorMetrics
from worker.connections.file import read_connections
from worker.history.metrics import ArchiveMetrics
from worker.metrics import Metrics
from worker.settings import PROGRAMS

COMPOSE: dict[str, Any] = YAML(typ="safe").load(REPOSITORY / "docker-compose.yml")
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = [name for name, service in SERVICES.items() if service.get("image", "").startswith("leadpulse")]
DOCKERFILE = (REPOSITORY / "Dockerfile").read_text()
CONNECTIONS = read_connections(str(REPOSITORY / "ops/compose/connections.yaml"))
TARGETS = read_connections(str(REPOSITORY / "ops/compose/act/connections.yaml"))
PROJECT: dict[str, Any] = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
LOCKS = ("build", "run", "demo", "archive", "dev")


def _locked(lock: str) -> dict[str, Version]:
    """Return each package of requirements/*lock*.lock with its version."""
    lines = (REPOSITORY / "requirements" / f"{lock}.lock").read_text().splitlines()
    pins = [line.split(" ")[0].partition("==") for line in lines if "==" in line and not line.startswith(" ")]
    return {canonicalize_name(name): Version(version) for name, _, version in pins}


def _asked(lock: str) -> list[Requirement]:
    """Return what pyproject.toml asks for, for requirements/*lock*.lock."""
    extras: dict[str, list[str]] = PROJECT["project"]["optional-dependencies"]
    lines = {
        "build": PROJECT["dependency-groups"]["build"],
        "run": PROJECT["project"]["dependencies"],
        "demo": PROJECT["project"]["dependencies"] + extras["demo"],
        "archive": PROJECT["project"]["dependencies"] + extras["archive"] + ["s3fs"],
        "dev": PROJECT["project"]["dependencies"]
        + extras["demo"]
        + extras["checkpoints"]
        + extras["otel"]
        + extras["plot"]
        + extras["dev"],
    }[lock]
    return [Requirement(line) for line in lines if not line.startswith("leadpulse")]


@pytest.mark.parametrize("lock", LOCKS)
def test_each_lock_has_what_the_project_asks_for(lock: str) -> None:
    """A dependency added without `make lock` would be missing on a fresh machine and nowhere else."""
    locked = _locked(lock)
    for asked in _asked(lock):
        version = locked.get(canonicalize_name(asked.name))
        assert version is not None, f"{asked} is not in requirements/{lock}.lock: run `make lock`"
        assert asked.specifier.contains(version, prereleases=True), f"requirements/{lock}.lock has {version}, not {asked}"


def test_what_is_tested_is_what_runs() -> None:
    """Each lock holds the smaller one's packages in the same versions."""
    run, demo, archive, dev = _locked("run"), _locked("demo"), _locked("archive"), _locked("dev")
    assert run.items() <= demo.items()
    assert run.items() <= archive.items()
    assert demo.items() <= dev.items()
    assert archive.items() <= dev.items()


@pytest.mark.parametrize("lock", LOCKS)
def test_locks_name_no_host_and_every_package_has_hashes(lock: str) -> None:
    """They install from any index or mirror, and only what was locked."""
    text = (REPOSITORY / "requirements" / f"{lock}.lock").read_text()
    assert "://" not in text
    for block in re.split(r"\n(?=\S)", text.strip()):
        assert "--hash=sha256:" in block, block


def test_the_build_takes_the_setuptools_that_the_project_names() -> None:
    """`make` and the Dockerfile build without isolation: the group `build` must stay equal to [build-system]."""
    assert PROJECT["dependency-groups"]["build"] == PROJECT["build-system"]["requires"]


def test_every_file_that_a_program_reads_is_in_the_wheel() -> None:
    """The image and `pip install` have what setuptools takes along; a checkout has everything, and hides what is missing."""
    patterns = PROJECT["tool"]["setuptools"]["package-data"]["*"]
    missing = []
    for path in (REPOSITORY / "worker").rglob("*"):
        if path.is_dir() or path.suffix in (".py", ".pyc", ".so"):
            continue
        package = next(folder for folder in path.parents if (folder / "__init__.py").exists())
        within = path.relative_to(package)
        if not any(within.match(one) and len(within.parts) == one.count("/") + 1 for one in patterns):
            missing.append(str(path.relative_to(REPOSITORY)))
    assert missing == []


def test_compose_publishes_on_the_loopback_interface_only() -> None:
    """Nothing here has a password."""
    ports = {name: port for name, service in SERVICES.items() for port in service.get("ports", [])}
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports.values()), ports


def test_compose_and_image_set_only_settings_that_exist() -> None:
    """A variable that no setting reads is a setting that silently does not apply."""
    names = set(re.findall(r"\bLEADPULSE_[A-Z_]+", DOCKERFILE))
    for name in OURS:
        names |= set(SERVICES[name].get("environment", {}))
    known = {f"LEADPULSE_{field.upper()}" for program in PROGRAMS for field in program.model_fields}
    secrets = {name for file in (CONNECTIONS, TARGETS) for _, secret in file.secrets() for name in secret.names()}
    assert names <= known | secrets, sorted(names - known - secrets)
    assert secrets <= names, "connections.yaml names a secret that no container has"


def test_compose_s_collector_and_its_page_fit_each_other() -> None:
    """The page loads the pixel of the site that its own origin may use, from the port that is published."""
    environment = SERVICES["collector"]["environment"]
    mounted = [one.split(":") for one in SERVICES["collector"]["volumes"]]
    assert ["./ops/compose/connections.yaml", environment["LEADPULSE_CONNECTIONS"], "ro"] in mounted
    assert SERVICES["topics"]["environment"] == environment, "the topics are made where there are connections"
    (port,) = re.findall(r"LEADPULSE_COLLECT_PORT=(\d+)", DOCKERFILE)
    assert SERVICES["collector"]["ports"] == [f"127.0.0.1:{port}:{port}"]
    assert f"EXPOSE {port}\n" in DOCKERFILE
    (site,) = CONNECTIONS.sites
    (origin,) = CONNECTIONS.sites[site].origins
    page = SERVICES["page"]
    assert page["entrypoint"][3] == origin.rpartition(":")[2] == page["ports"][0].rpartition(":")[2]
    for path in sorted((REPOSITORY / "ops/compose/page").glob("*.html")):
        assert f'src="http://localhost:{port}/lp/{site}/lp.js"' in path.read_text()


def test_compose_s_rules_fit_their_targets() -> None:
    """Where the program that acts looks for them. It sends nothing unless it is asked to."""
    service = SERVICES["act"]
    mounted = dict(one.split(":")[:2][::-1] for one in service["volumes"])
    environment = service["environment"]
    assert environment["LEADPULSE_ACT_DRY"] == "${LEADPULSE_ACT_DRY:-true}"
    for name in ("LEADPULSE_AUTOMATIONS", "LEADPULSE_CONNECTIONS"):
        folder, _, file = environment[name].rpartition("/")
        assert (REPOSITORY / mounted[folder] / file).is_file()
    assert (REPOSITORY / mounted[environment["LEADPULSE_DOCUMENTS"]]).is_dir()
    read_rules(str(REPOSITORY / "ops/automations/automations.yaml"), TARGETS)


def test_the_image_of_archives_has_what_they_need() -> None:
    """It is the same file with another lock, and its folder is the program's own."""
    service = SERVICES["archive"]
    assert service["build"]["args"] == {"LOCK": "archive"}
    assert "requirements/${LOCK}.lock" in DOCKERFILE
    (volume,) = service["volumes"]
    place = service["environment"]["LEADPULSE_ARCHIVE_TO"]
    assert volume == f"archive:{place}"
    assert re.search(rf"install -d -o 10001 -m 700 .*{place}\b", DOCKERFILE)


def test_the_image_serves_its_pages_where_compose_and_prometheus_look() -> None:
    """One port number in four places: the image, its publication, its scraping, its health check."""
    (port,) = re.findall(r"LEADPULSE_METRICS_PORT=(\d+)", DOCKERFILE)
    assert f"EXPOSE {port}\n" in DOCKERFILE
    assert SERVICES["worker"]["ports"][0].endswith(f":{port}")
    prometheus = YAML(typ="safe").load(REPOSITORY / "ops/prometheus/prometheus.yml")
    found = [one["dns_sd_configs"][0] for one in prometheus["scrape_configs"]]
    assert [(one["names"], one["port"]) for one in found] == [
        ([name], int(port)) for name in ("worker", "collector", "act", "archive")
    ]


def test_the_worker_container_can_do_little_harm() -> None:
    """No root, no capabilities, nothing to write to but /tmp."""
    assert re.search(r"^USER (?!0|root)", DOCKERFILE, re.MULTILINE)
    assert OURS == ["topics", "worker", "collector", "act", "archive", "page", "simulator"]
    for name in OURS:
        service = SERVICES[name]
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]


def test_compose_redis_keeps_every_lead() -> None:
    """Eviction would lose leads; without the append-only file so would a restart."""
    command = SERVICES["redis"]["command"]
    assert dict(zip(command[1::2], command[2::2], strict=True)) == {
        "--appendonly": "yes",
        "--appendfsync": "everysec",
        "--maxmemory-policy": "noeviction",
        "--hash-max-listpack-value": "2048",
    }


def test_compose_runs_the_kafka_that_is_tested() -> None:
    """What the tests show holds for the broker that they ran on."""
    assert SERVICES["kafka"]["image"].startswith(f"apache/kafka:{KAFKA_VERSION}@")


def test_everything_mounted_or_copied_into_a_container_exists() -> None:
    """Docker makes an empty folder of a missing mount, and fails late on a missing copy."""
    mounts = [volume.split(":")[0] for service in SERVICES.values() for volume in service.get("volumes", [])]
    missing = [mount for mount in mounts if mount.startswith("./") and not (REPOSITORY / mount).exists()]
    missing += [mount for mount in mounts if not mount.startswith("./") and mount not in COMPOSE["volumes"]]
    copies = [line.split()[1:-1] for line in DOCKERFILE.splitlines() if line.startswith("COPY ") and "--from" not in line]
    missing += [source for sources in copies for source in sources if not (REPOSITORY / source).exists()]
    assert missing == []
    ignored = (REPOSITORY / ".dockerignore").read_text().splitlines()
    kept = {line[1:].split("/")[0] for line in ignored if line.startswith("!")}
    assert {source.split("/")[0] for sources in copies for source in sources} == kept


def test_compose_itself_accepts_the_file() -> None:
    """Docker's own reading of the file, with the profile that is off by default."""
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], capture_output=True).returncode:
        pytest.skip("no `docker compose` here: the file is checked by the other tests alone")
    command = [docker, "compose", "--profile", "simulate", "config", "--quiet"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_page_of_metrics_is_written_from_the_code() -> None:
    """Whoever writes an alert reads there which metrics there are."""
    assert (REPOSITORY / "docs/metrics.md").read_text() == page(), "python -m ops.dev.metrics_page > docs/metrics.md"


def _named_metrics(text: str) -> set[str]:
    """Return the metrics in *text*; what a rule records has a colon before it, or behind its name."""
    return set(re.findall(r"(?<![:\w])leadpulse_[a-z_]+", text))


@pytest.mark.parametrize(
    "path", [p for p in sorted((REPOSITORY / "ops").rglob("*")) if p.suffix in {".json", ".yml"}], ids=lambda p: p.name
)
def test_dashboards_and_rules_ask_for_metrics_that_exist(path: Path) -> None:
    """A renamed metric leaves an empty panel, or an alert that never fires."""
    registry = CollectorRegistry()
    Metrics(registry)
    CollectorMetrics(registry)
    ActMetrics(registry)
    ArchiveMetrics(registry)
    known = set()
    for family in registry.collect():
        suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}.get(family.type, [""])
        known |= {family.name + suffix for suffix in suffixes}
    unknown = _named_metrics(path.read_text()) - known
    assert not unknown, sorted(unknown)


def test_make_refuses_a_python_that_is_too_old_with_a_hint(tmp_path: Path) -> None:
    """The first thing a newcomer may see must say what to do."""
    if shutil.which("make") is None:
        pytest.skip("no `make` here")
    old = tmp_path / "python3"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    command = ["make", "-C", str(tmp_path), "-f", str(REPOSITORY / "Makefile"), f"PYTHON={old}", ".venv/.made"]
    (tmp_path / "requirements").mkdir()
    for lock in LOCKS:
        (tmp_path / "requirements" / f"{lock}.lock").touch()
    # Not the variables of a `make test` that may be running this one: it would be a part of that one.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE") and name != "MFLAGS"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode != 0
    assert "Python >= 3.11" in done.stderr
    assert "make PYTHON=" in done.stderr


def test_every_image_of_others_is_pinned_by_digest(tmp_path: Path) -> None:
    """A tag can be moved to another image by its owner, or by an intruder. `make images` compares the two."""
    bases = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    others = [service["image"] for name, service in SERVICES.items() if name not in OURS]
    assert len(bases) == 2
    assert len(set(bases)) == 1, "both stages run the same Python"
    for image in [*bases, *others]:
        assert re.fullmatch(r"[a-z/]+:[A-Za-z0-9._-]+@sha256:[0-9a-f]{64}", image), f"{image}: not pinned by digest"
    (tmp_path / "docker").write_text("#!/bin/sh\necho sha256:$(printf %064d 0)\n")
    (tmp_path / "docker").chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    done = subprocess.run(
        ["make", "--no-print-directory", "images"],
        cwd=REPOSITORY,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    assert sorted(line.partition(" is at ")[0] for line in done.stdout.splitlines()) == sorted(
        image.partition("@")[0] for image in {*bases, *others}
    )
