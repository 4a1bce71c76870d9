"""How targets ask: steps of an act as requests, with what their answers mean. No network is known here.

A target's act is a generator. It yields requests and what to remember, gets answers, and returns the remote id:

    def task(target, act, run):
        answer = yield Http("contact", "POST", "/contacts/batch/upsert", json=..., safe=True, sample=...)
        yield Remember("contact", answer.json()["results"][0]["id"])
        answer = yield Http("task", "POST", "/tasks", json=..., safe=False, sample={"id": "<task_id>"})
        return answer.json()["id"]

The same generator makes the preview: there, each request is answered with its `sample`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Mapping
from typing import Any, NamedTuple, TypeAlias

import msgspec

_to_json = msgspec.json.encode
_from_json = msgspec.json.decode


class Http(NamedTuple):
    """A request over HTTP. The program adds what logs us in; `headers` hold no secret."""

    step: str
    """Its name within the act, for the ledger."""
    method: str
    path: str
    """Appended to the target's address, encoded; it begins with a slash, or is empty."""
    body: bytes | None = None
    headers: Mapping[str, str] = {}
    safe: bool = True
    """A repeat has no second visible effect. The ledger notes an unsafe step before it is sent."""
    sample: Any = None
    """What the preview answers, as JSON: names of what only an answer gives, as in `{"id": "<contact_id>"}`."""
    takes: Collection[int] = ()
    """Statuses beside 2xx whose answers the steps read themselves. No `judge` sees them."""

    @classmethod
    def json(
        cls, step: str, method: str, path: str, body: Any = None, *, safe: bool = True, sample: Any = None,
        headers: Mapping[str, str] | None = None, takes: Collection[int] = (),
    ) -> Http:  # fmt: skip
        """Return a request with a JSON body."""
        kind = {} if body is None else {"Content-Type": "application/json"}
        encoded = None if body is None else _to_json(body)
        return cls(step, method, path, encoded, {**kind, **(headers or {})}, safe, sample, takes)


class Mail(NamedTuple):
    """A message for a mail server. It is never safe: after a lost answer, one cannot know."""

    step: str
    sender: str
    to: str
    message: bytes
    """Headers and body, with CRLF at the ends of lines."""


class Remember(NamedTuple):
    """A value for later attempts at the same act, such as the id of what a step made."""

    name: str
    value: str


class Answer(NamedTuple):
    """What a target answered."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = {}
    """Names in lower case."""

    def json(self) -> Any:
        """Return the body as JSON; `None` where it is none."""
        try:
            return _from_json(self.body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None


def no_documents(name: str) -> bytes:
    """Refuse: there is no folder of documents."""
    raise Final(f"there is no folder of documents, so {name!r} cannot be read: set LEADPULSE_DOCUMENTS")


class Run(NamedTuple):
    """Knowledge about an act when an attempt begins."""

    known: Mapping[str, str] = {}
    """What earlier attempts remembered."""
    unsure: str = ""
    """The unsafe step whose answer was lost, or `*` where the ledger itself was lost. Look it up before it is sent again."""
    now_ms: int = 0
    unsubscribe: str = ""
    """Address by which the lead unsubscribes; empty where the connections have no `unsubscribe`."""
    read: Callable[[str], bytes] = no_documents
    """Reads a document below LEADPULSE_DOCUMENTS. Raises `Final`."""


Step: TypeAlias = Http | Mail | Remember
Steps: TypeAlias = Generator[Step, Answer, str]
"""Steps of an act. Returns the remote id, or nothing where there is none."""


class Refusal(Exception):
    """A step did not succeed. The message says what the target answered, without a secret or a whole body."""


class Again(Refusal):
    """It may succeed later: the target is busy, limited or broken. Nothing was done."""

    def __init__(self, why: str, after_s: float = 0.0) -> None:
        super().__init__(why)
        self.after_s = after_s
        """How long the target asks to wait; 0 where it does not say."""


class Expired(Refusal):
    """The log-in has ended. Log in anew, and try once more at once."""


class Split(Refusal):
    """A batch is refused for one of its records. Send halves."""


class Final(Refusal):
    """It will never succeed like this."""


class Misconfigured(Refusal):
    """The target's settings or rights do not allow it. Stop this target until an operator has mended them."""


class Unknown(Refusal):
    """An answer was lost, and the target cannot tell whether it was done. A person must decide."""


class Lost(Refusal):
    """The answer to a request that was sent did not come, or a gateway answered in its place (500, 502, 504).

    The request may have taken effect, so only a safe step is sent again. `judge` raises it too, and so do steps for a 2xx
    that proves nothing. After it, `unsure` of the next attempt is the last unsafe step, even if its answer came.
    """


class Written(NamedTuple):
    """What became of one lead's state in a batch."""

    lead_id: str
    sequence: int
    error: Refusal | None = None


Writes: TypeAlias = Generator[Http, Answer, list[Written]]
"""Steps that write the states of many leads, and what became of each. Raises `Split`, or any `Refusal` for all of them."""
