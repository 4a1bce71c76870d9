"""Templates: Jinja2 in a sandbox. A name that is missing is false, and an error where it is printed."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

from jinja2 import BaseLoader, ChainableUndefined, ChoiceLoader, Environment, FileSystemLoader, Template, nodes
from jinja2.exceptions import SecurityError, TemplateError, TemplateNotFound, TemplateSyntaxError, UndefinedError
from jinja2.filters import FILTERS as DEFAULT_FILTERS
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.tests import TESTS as DEFAULT_TESTS
from markupsafe import Markup

from worker.automations.helpers import FILTERS
from worker.automations.targets.fields import Form
from worker.core.contract.printable import plain
from worker.core.grid.values import did_you_mean

T = TypeVar("T")

GLOBALS: Final = ("range", "dict", "namespace")
"""Functions of Jinja's that every template may call."""

MOST_CHARS: Final = 200_000
"""Longest text that a template may make."""
_MOST_REPEATED: Final = 10_000
_MOST_WORDS: Final = 300
_UNKNOWN: Final = re.compile(r"No (filter|test) named '([^']*)'")


class CannotWrite(Exception):
    """A text cannot be written for a lead. The message says which and why."""


class TemplateMistake(Exception):
    """A template that no lead could be written by: its syntax, or a file that is missing."""


class _Missing(ChainableUndefined):
    """A missing name: false in `if`, `or`, `default` and comparisons. Whatever would print it is refused."""

    __slots__ = ()

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        name = self._undefined_name
        if name is None:
            raise UndefinedError(self._undefined_hint or "a value is missing")
        raise UndefinedError(f"`{name}` is missing: write another value behind it, as in {{{{ {name} or 'there' }}}}")

    def _is_not(self, _: Any) -> bool:
        return False

    __str__ = __iter__ = __len__ = _refuse
    __lt__ = __le__ = __gt__ = __ge__ = __contains__ = _is_not  # type: ignore[assignment]


class _Sandbox(ImmutableSandboxedEnvironment):
    """Reads keys before attributes, so a trait called `items` is a trait. Refuses texts of absurd lengths."""

    intercepted_binops = frozenset({"*", "**"})

    def getattr(self, obj: Any, attribute: str) -> Any:
        if isinstance(obj, Mapping) and attribute in obj:
            return obj[attribute]
        return super().getattr(obj, attribute)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        sizes = [value for value in (left, right) if not isinstance(value, (int, float))]
        if operator == "**" or (sizes and any(isinstance(n, int) and n > _MOST_REPEATED for n in (left, right))):
            raise SecurityError(f"`{operator}` makes too much here")
        return super().call_binop(context, operator, left, right)


def _printed(value: Any) -> Any:
    """Return a value that may be printed. Nothing, and a function, may not."""
    if value is None:
        raise UndefinedError("a value is null: write another value behind it, as in {{ grade or 'none' }}")
    if callable(value) and not isinstance(value, (str, ChainableUndefined)):
        raise UndefinedError("a function is printed: call it, or write another name")
    return value


def _printed_in_slack(value: Any) -> Any:
    value = _printed(value)
    return value if isinstance(value, Markup) else str(value).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


class Templates:
    """Compiles templates and expressions. *folder* holds files of templates, also in its folder `templates`."""

    def __init__(self, folder: Path | None, timezone: str = "UTC") -> None:
        folders = [] if folder is None else [folder, folder / "templates"]
        loader = ChoiceLoader([FileSystemLoader(one) for one in folders])
        self._loader = loader
        self._plain = _environment(loader, timezone, escaped=False, finalize=_printed)
        self._html = _environment(loader, timezone, escaped=True, finalize=_printed)
        self._slack = _environment(loader, timezone, escaped=False, finalize=_printed_in_slack)

    def _of(self, form: Form) -> Environment:
        return {Form.HTML: self._html, Form.SLACK: self._slack}.get(form, self._plain)

    def text(self, source: str, form: Form) -> Callable[[Mapping[str, Any]], str]:
        """Return the template *source* as a function of the names that it prints. Raises `TemplateMistake`.

        The function raises `CannotWrite`.
        """
        template = _compiled(lambda: self._of(form).from_string(source))
        return lambda names: _rendered(template, names, form)

    def file(self, name: str) -> Callable[[Mapping[str, Any]], str]:
        """Return the file of HTML *name* as a function, as `text` does."""
        template = _compiled(lambda: self._html.get_template(name))
        return lambda names: _rendered(template, names, Form.HTML)

    def expression(self, source: str) -> Callable[[Mapping[str, Any]], Any]:
        """Return the expression *source* as a function; a missing name is `None`. Raises `TemplateMistake`.

        The function raises `CannotWrite`, also for what is no plain value.
        """
        found = _compiled(lambda: self._plain.compile_expression(source, undefined_to_none=True))
        return lambda names: _plain_value(_guarded(lambda: found(names)))

    def tree(self, source: str) -> nodes.Template:
        """Return the syntax tree of a template. Raises `TemplateMistake`."""
        return _compiled(lambda: self._plain.parse(source))

    def tree_of_file(self, name: str) -> nodes.Template:
        """Return the syntax tree of a file. Raises `TemplateMistake`."""

        def parsed() -> nodes.Template:
            source, path, _ = self._loader.get_source(self._html, name)
            return self._html.parse(source, name, path)

        return _compiled(parsed)


def _environment(loader: BaseLoader, timezone: str, *, escaped: bool, finalize: Callable[[Any], Any]) -> Environment:
    made = _Sandbox(loader=loader, autoescape=escaped, undefined=_Missing, finalize=finalize, auto_reload=False)
    made.filters.update(FILTERS)
    made.globals = {**{name: made.globals[name] for name in GLOBALS}, "leadpulse_timezone": timezone}
    return made


def _compiled(make: Callable[[], T]) -> T:
    try:
        return make()
    except TemplateSyntaxError as error:
        place = f"{error.name}:{error.lineno}: " if error.name else f"line {error.lineno}: " if error.lineno > 1 else ""
        raise TemplateMistake(f"{place}{_syntax(str(error.message))}") from error
    except TemplateNotFound as error:
        raise TemplateMistake(f"there is no file {error.name!r} next to the rules, or in `templates` there") from error
    except UnicodeDecodeError as error:
        raise TemplateMistake("the file is not UTF-8: save it as UTF-8") from error
    except (OSError, RecursionError, TemplateError) as error:
        raise TemplateMistake(_words(error)) from error


def _syntax(message: str) -> str:
    """Return Jinja's words with what mends them."""
    unknown = _UNKNOWN.match(message)
    if unknown is not None:
        known = {*DEFAULT_FILTERS, *FILTERS} if unknown[1] == "filter" else set(DEFAULT_TESTS)
        return f"unknown {unknown[1]} {unknown[2]!r}{did_you_mean(unknown[2], known)}"
    return f"{message}: write a name as in {{{{ lead_id }}}}, and close each {{% if … %}} by {{% endif %}}"


def _guarded(make: Callable[[], T]) -> T:
    try:
        return make()
    except Exception as error:  # an expression may raise whatever Python raises: 1/0, None + 1
        raise CannotWrite(_words(error)) from error


def _rendered(template: Template, names: Mapping[str, Any], form: Form) -> str:
    text = _guarded(lambda: template.render(names))
    if len(text) > MOST_CHARS:
        raise CannotWrite(f"{len(text):,} characters are too many: at most {MOST_CHARS:,} are written")
    if form in (Form.HTML, Form.SLACK, Form.TEXT):
        return text.strip()
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _plain_value(value: Any) -> Any:
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, str) or hasattr(value, "__html__"):
        return str(value)
    raise CannotWrite(f"a {type(value).__name__} is no plain value: write a text, a number, true or false")


def _words(error: BaseException) -> str:
    if isinstance(error, TemplateNotFound):
        return f"there is no file {error.name!r}"
    return plain(f"{error}" or type(error).__name__)[:_MOST_WORDS]
