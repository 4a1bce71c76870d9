"""A model beside a grid: weights on the grid's own signals, read and checked as a grid is.

`model.json` is plain JSON, written by `leadpulse learn fit`. A grid names it by `prediction: {file: model.json}`.
`worker.core.grid.model_text` puts the model's own text in place of that name.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from hashlib import sha256
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, WithJsonSchema, model_validator

from worker.core.grid.counted import counted_hash, counted_parts, signals_of
from worker.core.grid.messages import GridError, Mistake, told
from worker.core.grid.model_base import Model
from worker.core.grid.values import did_you_mean, duration_ms, several, shown, wrong
from worker.core.grid.yaml_lines import Path, read_yaml
from worker.core.grid.yaml_model import mistakes

if TYPE_CHECKING:
    from worker.core.grid.models import GridFile

MOST_BYTES: Final = 500_000
MOST_FEATURES: Final = 1_000
MOST_WEIGHT: Final = 20.0
MIN_WON: Final = 100
MIN_LEADS: Final = 1_000
MIN_AUC: Final = 0.55
SLOPES: Final = (0.7, 1.3)
_MOST_NUMBER: Final = 1e9
_ANEW: Final = "train it again with `leadpulse learn fit`"
_SHOWN: Final = 5
"""So many names of rules stand in one message."""


class Trained(Model):
    """What a model was trained on."""

    from_: Annotated[str | None, Field(alias="from")] = None
    """Instant of the first row; `null` for a table without time."""
    to: str | None = None
    cut: str | None = None
    """Rows from here on were kept back to test the model."""
    leads: Annotated[int, Field(ge=0)]
    rows: Annotated[int, Field(ge=0)]
    won: Annotated[int, Field(ge=0)]
    """Leads that were won."""

    @model_validator(mode="after")
    def _of_leads(self) -> Trained:
        if self.won > self.leads:
            raise wrong(f"{self.won} won leads are more than all {self.leads}: write leads, not rows", ("won",))
        return self


def _number(raw: Any) -> float:
    if isinstance(raw, (int, float)) and not isinstance(raw, bool) and abs(raw) <= _MOST_NUMBER:
        return float(raw)
    raise wrong(f"write a finite number of at most {_MOST_NUMBER:.0e}; got {shown(raw)}")


def _weight(raw: Any) -> float:
    weight = _number(raw)
    if abs(weight) > MOST_WEIGHT:
        raise wrong(f"a weight is from -{MOST_WEIGHT:g} to {MOST_WEIGHT:g}; got {weight:g}: {_ANEW}")
    return weight


def _cap(raw: Any) -> float:
    cap = _number(raw)
    if cap <= 0:
        raise wrong(f"{cap:g} leaves nothing of the signal: write a cap above 0, or leave it out")
    return cap


def _pair(raw: Any) -> Any:
    if isinstance(raw, tuple) and len(raw) == 2:
        return raw
    raise wrong(f"write [weight, mean], as in [0.71, 0.2]; got {shown(raw)}")


def _calibration(raw: Any) -> Any:
    if isinstance(raw, tuple) and len(raw) == 2:
        return raw
    raise wrong(f"write [a, b], as in [0, 1]; got {shown(raw)}")


def _features(features: dict[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
    if len(features) > MOST_FEATURES:
        raise wrong(f"{len(features):,} features are too many: write at most {MOST_FEATURES:,}")
    return features


def _horizon(text: str) -> str:
    try:
        ms = duration_ms(text)
    except ValueError:
        ms = None
    if not ms:
        raise wrong(f"write a duration, as in 90d; got {shown(text)}")
    return text


def _interval(raw: Any, where: str) -> None:
    value, low, high = (_number(one) for one in raw) if isinstance(raw, tuple) and len(raw) == 3 else (1.0, 2.0, 0.0)
    if not low <= value <= high:
        raise wrong(f"write [value, low, high], as in [0.71, 0.66, 0.75]; got {shown(raw)}", (where,))


_INTERVALS: Final = ("auc", "slope")


def _metrics(metrics: dict[str, Any]) -> dict[str, Any]:
    for name in _INTERVALS:
        if name in metrics:
            _interval(metrics[name], name)
    return metrics


_Weight = Annotated[float, BeforeValidator(_weight)]
_Feature = Annotated[tuple[_Weight, Annotated[float, BeforeValidator(_number)]], BeforeValidator(_pair)]


class PredictionModel(Model):
    """The chance that a lead is won within the horizon, as a sum in log-odds.

    `logit = a + b * (intercept + Σ weight * (signal - mean))`, with `calibration: [a, b]`.
    """

    model: Literal[1]
    """Version of the form."""
    features: Annotated[dict[str, _Feature], AfterValidator(_features)]
    """Signal of the grid → [weight, mean]."""
    caps: dict[str, Annotated[float, BeforeValidator(_cap)]] = Field(default_factory=dict)
    """Signal → the most of it, without its sign, that counts."""
    intercept: _Weight
    calibration: Annotated[tuple[_Weight, _Weight], BeforeValidator(_calibration)]
    horizon: Annotated[str, AfterValidator(_horizon)]
    counted: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    """`counted_hash` of the grid that it was trained on."""
    parts: dict[str, str] = Field(default_factory=dict)
    """`counted_parts` of that grid: they name what another grid counts otherwise."""
    trained: Trained
    metrics: Annotated[dict[str, Any], AfterValidator(_metrics)] = Field(default_factory=dict)
    """Forward in time: `auc` and `slope` as [value, low, high], and whatever else was measured."""


class _NotJson(Exception):
    """*line* is from 1."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


def read_model_file(source: bytes, file: str) -> tuple[PredictionModel, str]:
    """Return the model in *source*, and its text in the one form that travels with a grid.

    *file* names the file in mistakes. Raises `GridError` with every mistake, by line.
    """
    try:
        data = _plain_json(source)
        model = PredictionModel.model_validate(data)
    except _NotJson as err:
        raise GridError([Mistake(file, err.line, "", str(err))]) from None
    except ValidationError as err:
        document = read_yaml(source)  # which knows the lines
        found = [(document.line(path), path, message) for path, message in told(err, PredictionModel)]
        raise GridError(mistakes(found, file)) from None
    return model, json.dumps(_listed(data), sort_keys=True, separators=(",", ":"))


def _plain_json(source: bytes) -> Any:
    """Return plain data with tuples for lists. Raises `_NotJson`."""
    if len(source) > MOST_BYTES:
        raise _NotJson(1, f"{len(source):,} bytes are too many: a model has at most {MOST_BYTES:,}")

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in found]
        for name in names:
            if names.count(name) > 1:
                line = source.count(b"\n", 0, source.rfind(json.dumps(name).encode())) + 1
                raise _NotJson(line, f"duplicate key {name!r}: keep one")
        return {name: _tupled(value) for name, value in found}

    def constant(name: str) -> Any:
        line = source.count(b"\n", 0, source.find(name.encode())) + 1
        raise _NotJson(line, f"write finite numbers of at most {_MOST_NUMBER:.0e}; got {name}: {_ANEW}")

    def number(text: str) -> float:
        return float(text) if abs(float(text)) <= _MOST_NUMBER else constant(text)

    try:
        text = source.decode("utf-8-sig")
        return _tupled(json.loads(text, object_pairs_hook=pairs, parse_constant=constant, parse_float=number))
    except UnicodeDecodeError as err:
        raise _NotJson(source.count(b"\n", 0, err.start) + 1, "not UTF-8: save the file as UTF-8") from None
    except json.JSONDecodeError as err:
        raise _NotJson(err.lineno, f"not JSON in column {err.colno}: {err.msg}") from None
    except (RecursionError, ValueError) as err:  # nested too deep, a whole number of thousands of digits
        raise _NotJson(1, f"not a model: {err}") from None


def _tupled(value: Any) -> Any:
    return tuple(map(_tupled, value)) if isinstance(value, list) else value


def _listed(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _listed(held) for name, held in value.items()}
    return [_listed(one) for one in value] if isinstance(value, tuple) else value


def beside(name: str) -> str:
    """Return *name* if it is that of a file beside the grid, or below. Raises pydantic's error."""
    parts = name.split("/")
    if not name.isprintable() or "\\" in name or any(part in ("", ".", "..") for part in parts) or ":" in name:
        raise wrong(f"write the name of a file beside the grid, as in model.json; got {shown(name)}")
    return name


def _inlined(raw: Any) -> Any:
    """Read the text of a model, as it travels with a grid."""
    if not isinstance(raw, str):
        raise wrong(f"`model` holds the text of a model.json; write `file: model.json` instead; got {shown(raw)}")
    try:
        return read_model_file(raw.encode("utf-8", "surrogatepass"), "")[0]
    except GridError as err:
        raise several([((), f"{one.path + ': ' if one.path else ''}{one.message}") for one in err.mistakes]) from None


class Prediction(Model):
    """The model that says the chance that a lead is won. It moves no stage."""

    file: Annotated[str, AfterValidator(beside)] | None = None
    """A model.json beside the grid."""
    model: Annotated[PredictionModel | None, BeforeValidator(_inlined), WithJsonSchema({"type": "string"})] = None
    """The model itself, as JSON text: grids in journals and in Redis have it in place of `file`."""

    @model_validator(mode="after")
    def _one(self) -> Prediction:
        if (self.file is None) == (self.model is None):
            raise wrong("write `file: model.json`, the name of a file beside the grid")
        return self


def withheld(model: PredictionModel) -> str | None:
    """Return why *model* may not say a chance, by what it was trained on and how it was tested; `None`: it may.

    It needs 1,000 leads, 100 of them won and 100 not, and a test forward in time. There its AUC must be above 0.55, as an
    interval, and its calibration slope must touch 0.7 to 1.3.
    """
    trained = model.trained
    for code, found, needed in (
        ("too_few_wins", trained.won, MIN_WON),
        ("too_few_losses", trained.leads - trained.won, MIN_WON),
        ("too_few_leads", trained.leads, MIN_LEADS),
    ):
        if found < needed:
            return f"{code}: {found} of {needed}"
    if any(name not in model.metrics for name in _INTERVALS):
        return "not_tested: no auc and slope, measured forward in time"
    _, auc, _ = model.metrics["auc"]
    _, low, high = model.metrics["slope"]
    if auc <= MIN_AUC:
        return f"too_weak: auc from {auc:.3g}, above {MIN_AUC:g} is needed"
    if low > SLOPES[1] or high < SLOPES[0]:
        return f"not_calibrated: slope {low:.3g} to {high:.3g}, {SLOPES[0]:g} to {SLOPES[1]:g} is needed"
    return None


def model_mark(model: PredictionModel) -> str:
    """Return a short name for *model*: models with one name are the same."""
    return sha256(model.model_dump_json(by_alias=True).encode()).hexdigest()[:12]


def misfits(grid: GridFile) -> Iterator[tuple[Path, str]]:
    """Yield why the model of *grid* cannot judge by it: signals that it does not have, and what it counts otherwise."""
    model = None if grid.prediction is None else grid.prediction.model
    if model is None:
        return
    path: Path = ("prediction",)
    signals = signals_of(grid)
    lost = [name for name in {**model.features, **model.caps} if name not in signals]
    for name in lost[:_SHOWN]:
        yield path, f"the model weighs {name!r}, and the grid has no such signal{did_you_mean(name, signals)}: {_ANEW}"
    if not lost and model.counted != counted_hash(grid):
        what = "; ".join(_other(model.parts, counted_parts(grid)))
        why = what or f"`counted` begins with {model.counted[:12]}, and with {counted_hash(grid)[:12]} for this grid"
        yield path, f"the grid counts otherwise than the one that the model was trained on: {why}. Undo that, or {_ANEW}"


def _other(trained: Mapping[str, str], now: Mapping[str, str]) -> Iterator[str]:
    """Yield which rules are counted otherwise, are new, or are gone; nothing where the model does not say."""
    if not trained:
        return
    for word, names in (
        ("changed", [name for name in now if name in trained and trained[name] != now[name]]),
        ("new", [name for name in now if name not in trained]),
        ("gone", [name for name in trained if name not in now]),
    ):
        if names:
            more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            yield f"{word}: {', '.join(names[:_SHOWN])}{more}"
