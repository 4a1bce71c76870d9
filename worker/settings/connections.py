"""Connections to Kafka and Redis, and how every class of settings is read from the environment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator

from worker.errors import SettingsError

PREFIX = "LEADPULSE_"

SECRETS = ("redis", "seen_redis", "kafka_password", "kafka_key_password", "kafka_token_command")
"""Settings whose values are never shown."""


class FromEnvironment(BaseModel):
    """Settings of one program. Frozen; secrets do not show in `repr`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def load(cls, environ: Mapping[str, str], **flags: Any) -> Self:
        """Read the settings from *environ*; *flags* that are not `None` go first.

        Raises `SettingsError` with one line for each mistake, by the variable's name and never with a secret's value.
        """
        given: dict[str, Any] = {
            name: environ[PREFIX + name.upper()] for name in cls.model_fields if environ.get(PREFIX + name.upper(), "") != ""
        }
        given |= {name: value for name, value in flags.items() if value is not None}
        try:
            return cls(**given)
        except ValidationError as err:
            raise SettingsError("\n".join(_mistake(error) for error in err.errors())) from None


class KafkaConnection(FromEnvironment):
    """How to reach Kafka, and to log in."""

    kafka: str = Field("localhost:9092", description="Kafka bootstrap servers: host:port, separated by commas")
    kafka_security: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="Kafka security protocol: PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL"
    )
    kafka_sasl: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] = Field(
        "PLAIN", description="Kafka SASL mechanism: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER"
    )
    kafka_user: str | None = Field(None, description="Kafka SASL user")
    kafka_password: SecretStr | None = Field(None, description="Kafka SASL password")
    kafka_token_file: str | None = Field(
        None, description="file with the OAUTHBEARER token; it is read at each log-in, so another program may renew it"
    )
    kafka_token_command: SecretStr | None = Field(
        None,
        description="command that prints the OAUTHBEARER token; it runs without a shell, and again before the token expires",
    )
    kafka_cafile: str | None = Field(None, description="PEM file of the authorities that sign Kafka's certificates")
    kafka_certfile: str | None = Field(None, description="PEM file of the client's certificate, for a log-in to Kafka by mTLS")
    kafka_keyfile: str | None = Field(None, description="PEM file of the certificate's key, if it is not in the same file")
    kafka_key_password: SecretStr | None = Field(None, description="password of that key")

    @property
    def client_id(self) -> str:
        """How brokers name our connections in their logs and quotas."""
        return "leadpulse"

    @model_validator(mode="after")
    def _one_token(self) -> Self:
        given = [name for name in ("kafka_token_file", "kafka_token_command") if getattr(self, name) is not None]
        by_token = self.kafka_sasl == "OAUTHBEARER"
        if by_token and len(given) != 1:
            raise ValueError("kafka_sasl: OAUTHBEARER needs kafka_token_file or kafka_token_command, one of them")
        if given and not by_token:
            raise ValueError(f"{given[0]}: a token is for kafka_sasl OAUTHBEARER, which is {self.kafka_sasl}")
        if by_token and not self.kafka_security.startswith("SASL"):
            raise ValueError(f"kafka_sasl: OAUTHBEARER needs kafka_security SASL_SSL, which is {self.kafka_security}")
        return self

    @model_validator(mode="after")
    def _certificate_with_its_key(self) -> Self:
        if (self.kafka_keyfile or self.kafka_key_password) and not self.kafka_certfile:
            raise ValueError("kafka_keyfile and kafka_key_password: they need kafka_certfile, the certificate of that key")
        if self.kafka_certfile and "SSL" not in self.kafka_security:
            raise ValueError(f"kafka_certfile: it needs kafka_security SSL or SASL_SSL, which is {self.kafka_security}")
        return self


class GroupConnection(KafkaConnection):
    """How a member of a consumer group reads Kafka and writes transactions. Each program names its group."""

    session_timeout: float = Field(
        10.0, ge=1, le=15, description="seconds without a heartbeat after which other workers take the partitions over"
    )
    max_unpacked: int = Field(
        64 * 1024 * 1024,
        ge=4 * 1024 * 1024,
        le=1024 * 1024 * 1024,
        description="most bytes that one compressed batch of records may unpack to; of a larger batch, only the places of its"
        " records go to the dead letters",
    )
    development: bool = Field(
        False,
        description="for experiments, never for real leads: a single broker is accepted, and the configuration of topics and"
        " the checksums of records are not checked, because an embedded broker lacks them",
    )

    @property
    def group(self) -> str:
        """The consumer group."""
        raise NotImplementedError

    @property
    def topics(self) -> tuple[str, ...]:
        """Every topic that the group reads, sorted."""
        raise NotImplementedError

    @property
    def client_id(self) -> str:
        """How brokers name our connections in their logs and quotas."""
        return self.group

    def transactional_id(self, partition: int) -> str:
        """Return the name by which a producer of *partition* fences the one before it."""
        return f"{self.group}.{partition}"


class RedisConnection(FromEnvironment):
    """How to reach Redis."""

    redis: SecretStr = Field(
        SecretStr("redis://localhost:6379/0"),
        description="Redis URL (redis://, rediss://, redis+cluster://…), which may contain a password",
    )

    @field_validator("redis")
    @classmethod
    def _redis_url(cls, url: SecretStr) -> SecretStr:
        known = ("redis", "rediss", "unix", "redis+cluster", "rediss+cluster")
        if url.get_secret_value().partition("://")[0] not in known:
            raise ValueError(f"expected a URL such as redis://host:6379/0; known schemes: {', '.join(known)}")
        return url


def _mistake(error: Any) -> str:
    """Return one validation error as a line that names the setting, what is wrong and what was given."""
    message = str(error["msg"]).removeprefix("Value error, ")
    if not error["loc"]:
        return message
    name = str(error["loc"][0])
    shown = "" if name in SECRETS else f" (given: {error['input']!r})"
    return f"{PREFIX}{name.upper()}: {message}{shown}"
