"""Settings: read whole, told by name, secrets kept."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from worker.cli import cli
from worker.errors import SettingsError
from worker.settings import KafkaConnection, ReaderSettings, Settings


def test_names_that_hang_on_the_namespace() -> None:
    """Group, internal topic, transactional ids: another namespace shares nothing."""
    settings = Settings.load({"LEADPULSE_NAMESPACE": "eu"})
    assert settings.group == "leadpulse.eu"
    assert settings.internal_topic == "leadpulse.eu.internal"
    assert settings.transactional_id(3) == "leadpulse.eu.3"
    assert settings.source == "/leadpulse/eu"


def test_lists_and_routes_are_words_separated_by_commas() -> None:
    """As an environment can hold them."""
    settings = Settings.load({"LEADPULSE_INPUT_TOPICS": " a, b ,", "LEADPULSE_OUTPUT_TOPICS": "lead.sql=hot, lead.mql=hot"})
    assert settings.topics == ("a", "b", "leadpulse.default.internal")
    assert settings.output_topic("lead.sql") == "hot"
    assert settings.outputs.count("hot") == 1


def test_an_empty_variable_is_as_good_as_none() -> None:
    """Compose files and charts set what they do not need to nothing."""
    assert Settings.load({"LEADPULSE_PARTITIONS": ""}).partitions == 8


def test_flags_go_before_the_environment() -> None:
    """What is typed is meant."""
    assert Settings.load({"LEADPULSE_PARTITIONS": "4"}, partitions="2", kafka=None).partitions == 2


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"LEADPULSE_PARTITIONS": "many"}, ["LEADPULSE_PARTITIONS", "'many'"]),
        ({"LEADPULSE_PARTITIONS": "0", "LEADPULSE_CLOCK": "sun"}, ["LEADPULSE_PARTITIONS", "LEADPULSE_CLOCK"]),
        ({"LEADPULSE_OUTPUT_TOPICS": "lead.hot=x"}, ["LEADPULSE_OUTPUT_TOPICS", "no such output type: lead.hot"]),
        ({"LEADPULSE_INPUT_TOPICS": "a,a"}, ["LEADPULSE_INPUT_TOPICS", "twice"]),
        ({"LEADPULSE_INPUT_TOPICS": "lead.sql"}, ["lead.sql is written by the worker itself"]),
        ({"LEADPULSE_NAMESPACE": "a b"}, ["LEADPULSE_NAMESPACE"]),
    ],
)
def test_a_bad_value_is_told_by_its_variable(environ: dict[str, str], words: list[str]) -> None:
    """One line each, all at once."""
    with pytest.raises(SettingsError) as caught:
        Settings.load(environ)
    for word in words:
        assert word in str(caught.value)


def test_secrets_show_nowhere() -> None:
    """Neither in the settings' own words nor in an error's."""
    settings = Settings.load({"LEADPULSE_REDIS": "redis://u:hunter2@h", "LEADPULSE_KAFKA_PASSWORD": "hunter2"})
    assert "hunter2" not in repr(settings)
    with pytest.raises(SettingsError) as caught:
        Settings.load({"LEADPULSE_REDIS": "http://u:hunter2@h"})
    assert "hunter2" not in str(caught.value)


def test_a_mistake_in_a_setting_of_the_worker_stops_no_other_program() -> None:
    """Each program reads only its own class; what a class shares with another has one definition."""
    environ = {"LEADPULSE_METRICS_PORT": "many", "LEADPULSE_CLOCK": "sun", "LEADPULSE_NAMESPACE": "eu"}
    with pytest.raises(SettingsError):
        Settings.load(environ)
    assert ReaderSettings.load(environ).source == Settings.load({"LEADPULSE_NAMESPACE": "eu"}).source
    assert KafkaConnection.load(environ).client_id == "leadpulse"
    assert Settings.load({"LEADPULSE_NAMESPACE": "eu"}).client_id == "leadpulse.eu"


@pytest.mark.parametrize("command", [["top"], ["accounts"], ["explain", "ann"], ["export", "ann"], ["produce", "-"]])
def test_commands_of_other_programs_do_not_read_the_worker_s_settings(command: list[str]) -> None:
    """They fail for Redis or Kafka, which is not there, and not for a port that they never open."""
    nowhere = {"LEADPULSE_REDIS": "redis://127.0.0.1:1", "LEADPULSE_KAFKA": "127.0.0.1:1", "LEADPULSE_METRICS_PORT": "many"}
    result = CliRunner().invoke(cli, command, env=nowhere, input="")
    assert result.exit_code == 1
    assert "LEADPULSE_METRICS_PORT" not in result.stderr
