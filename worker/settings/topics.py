"""Names of the topics that a namespace reads and writes."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, field_validator

from worker.core.contract import output_types
from worker.core.contract.event_types import INPUT_TOPICS
from worker.settings.connections import FromEnvironment

OUTPUT_TYPES = (*output_types.OUTPUT_TYPES, output_types.DEAD_LETTERS)


def words(value: Any) -> Any:
    """Return "a, b" as ["a", "b"]; anything else as it is."""
    return tuple(word.strip() for word in value.split(",") if word.strip()) if isinstance(value, str) else value


def _pairs(value: Any) -> Any:
    """Return "a=b, c=d" as {"a": "b", "c": "d"}; anything else as it is."""
    if not isinstance(value, str):
        return value
    pairs = [word.partition("=") for word in words(value)]
    if any(not equals for _, equals, _ in pairs):
        raise ValueError("expected type=topic pairs separated by commas")
    return {key.strip(): topic.strip() for key, _, topic in pairs}


class TopicNames(FromEnvironment):
    """Input topics, and the topics of output types."""

    input_topics: Annotated[tuple[str, ...], BeforeValidator(words)] = Field(
        tuple(INPUT_TOPICS.values()), min_length=1, description="input topics, separated by commas"
    )
    output_topics: Annotated[dict[str, str], BeforeValidator(_pairs)] = Field(
        default_factory=dict,
        description="topics of output types: type=topic, separated by commas; other types keep their own name as topic",
    )

    @field_validator("input_topics")
    @classmethod
    def _each_once(cls, topics: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(topics)) != len(topics):
            raise ValueError("a topic is named twice")
        return topics

    @field_validator("output_topics")
    @classmethod
    def _known_types(cls, routes: dict[str, str]) -> dict[str, str]:
        known = (*OUTPUT_TYPES, output_types.HISTORY, output_types.ACTED)
        unknown = sorted(set(routes) - set(known))
        if unknown:
            raise ValueError(f"no such output type: {', '.join(unknown)}; known: {', '.join(known)}")
        return routes

    def output_topic(self, kind: str) -> str:
        """Return the topic of output type *kind*: its route, or its own name."""
        return self.output_topics.get(kind, kind)

    @property
    def acted_topic(self) -> str:
        """Where the program that acts publishes how each act ended."""
        return self.output_topic(output_types.ACTED)
