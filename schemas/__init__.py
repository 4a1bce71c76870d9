"""The contract of LeadPulse in types: every event that it reads (`inputs`) or publishes (`outputs`).

The tables of types in `worker.core.contract` are the source, and the pydantic models are made of them.
`python -m schemas` writes the JSON Schema files in `schemas/json/` and the AsyncAPI document `schemas/asyncapi.yaml`.
A test keeps the files equal to the models. The worker decodes with `worker.core.contract.codec`, which tests hold equal too.

A producer in Python can build its events with the models and send `event.to_json()`. `read_input` checks a finished event.
"""

from schemas.envelope import CloudEvent
from schemas.inputs import INPUTS, InputEvent, read_input
from schemas.outputs import OUTPUTS, DeadLetterHeaders, OutputEvent, read_output

__all__ = [
    "INPUTS",
    "OUTPUTS",
    "CloudEvent",
    "DeadLetterHeaders",
    "InputEvent",
    "OutputEvent",
    "read_input",
    "read_output",
]
