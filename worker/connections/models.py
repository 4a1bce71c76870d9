"""The file of connections as a whole: sites, sources and targets."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field, model_validator

from worker.connections.secret import Secret, SecretText
from worker.connections.sources import NEEDS_PUBLIC_URL, AnySource, Categories, Model, Secrets
from worker.connections.targets import AnyTarget, Url
from worker.core.grid.values import did_you_mean, several, wrong
from worker.core.grid.yaml_lines import Path

_SLUG: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_ORIGIN: Final = re.compile(r"https?://[^/\s?#@]+")
_CUSTOM: Final = re.compile(r"custom\.[a-z0-9_.]{1,64}")


def _slug(name: str) -> str:
    if not _SLUG.fullmatch(name):
        raise wrong(f"{name!r} is no name: it stands in addresses, so write a-z, 0-9, - and _, at most 63 characters")
    return name


Slug = Annotated[str, AfterValidator(_slug)]


def _origins(origins: tuple[str, ...]) -> tuple[str, ...]:
    wrong_ones = [origin for origin in origins if not _ORIGIN.fullmatch(origin)]
    if wrong_ones:
        raise wrong(f"{wrong_ones[0]!r} is no origin: write scheme and host without a path, as in https://www.example.com")
    return tuple(origin.lower() for origin in origins)


def _customs(names: tuple[str, ...]) -> tuple[str, ...]:
    wrong_ones = [name for name in names if not _CUSTOM.fullmatch(name)]
    if wrong_ones:
        raise wrong(f"{wrong_ones[0]!r} is no custom type: write custom.NAME in a-z, 0-9, _ and .")
    return names


class Site(Model):
    """A web site whose pages carry the pixel."""

    origins: Annotated[tuple[str, ...], Field(min_length=1), AfterValidator(_origins)]
    """Origins of its pages, such as https://www.example.com. Others are refused."""
    consent: Literal["required", "given"] = "required"
    """`required`: no cookie and no id before the visitor has agreed. `given`: the site asks before it loads the pixel."""
    identify: Secrets = ()
    """Secrets that identify tokens are signed with. Without one, no browser names a lead."""
    write_key: SecretText | None = None
    """Key of Segment's protocol for browsers and servers of the site."""
    consent_categories: Categories = ()
    """Of Segment's protocol: categories of consent that a message needs where it has preferences; absent: all that it names."""
    custom: Annotated[tuple[str, ...], AfterValidator(_customs)] = ()
    """Custom types that a browser may send."""
    cookie_domain: str | None = None
    """Domain of the visitor's cookie, such as .example.com; absent: the host that was asked."""
    respect_dnt: bool = False
    """The browser's Do Not Track is obeyed, as Global Privacy Control always is."""


class Connections(Model):
    """The file of connections."""

    public_url: Url | None = None
    """Where vendors reach the collector, such as https://in.example.com. HubSpot and Mandrill sign it."""
    tokens: tuple[SecretText, ...] = ()
    """Bearer tokens of /v1/events, one for each system that sends."""
    unsubscribe: Secrets = ()
    """Secrets of the links by which people unsubscribe. Without one, links end with the password of the mail target."""
    sites: dict[Slug, Site] = Field(default_factory=dict)
    sources: dict[Slug, AnySource] = Field(default_factory=dict)
    targets: dict[Slug, AnyTarget] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _fits(self) -> Connections:
        if mistakes := list(self._mistakes()):
            raise several(mistakes)
        return self

    def _mistakes(self) -> Iterator[tuple[Path, str]]:
        for name, source in self.sources.items():
            if not source.secrets and source.vendor != "ses":
                yield ("sources", name), f"`secrets` is missing: without it, anyone could send events as {source.vendor}"
            if source.vendor in NEEDS_PUBLIC_URL and self.public_url is None:
                yield ("sources", name), f"{source.vendor} signs the address that it calls: add `public_url` at the top"
            api = getattr(source, "api", None)
            if api is not None and api not in self.targets:
                hint = did_you_mean(api, self.targets) or f"; the targets are {', '.join(self.targets) or 'none'}"
                yield ("sources", name, "api"), f"there is no target {api!r}{hint}"
            elif api is not None and self.targets[api].kind != source.vendor:
                yield ("sources", name, "api"), f"{api!r} is a target of kind {self.targets[api].kind}, not {source.vendor}"

    def secrets(self) -> Iterator[tuple[Path, Secret]]:
        """Yield every reference to a secret, with its place in the file."""
        yield from secrets_in(self, ())


def secrets_in(value: Any, path: Path = ()) -> Iterator[tuple[Path, Secret]]:
    """Yield every reference to a secret in *value*, a model or a part of one, with its place below *path*."""
    match value:
        case Secret():
            yield path, value
        case Model():
            for name, field in type(value).model_fields.items():
                yield from secrets_in(getattr(value, name), (*path, field.alias or name))
        case dict():
            for name, inner in value.items():
                yield from secrets_in(inner, (*path, name))
        case tuple():
            for number, inner in enumerate(value):
                yield from secrets_in(inner, (*path, number))
        case _:
            return
