"""The contract of LeadPulse in types: every event it reads (`inputs`) and every event it publishes (`outputs`).

The pydantic models are the source. `python -m schemas` writes from them the JSON Schema files in `schemas/json/` and the
AsyncAPI document `schemas/asyncapi.yaml`; a test keeps the files equal to the models. The worker itself decodes with
`worker.core.contract.codec`, which tests hold equal to the input models.

A producer in Python can build its events with the models and send `event.to_json()`, or check what it is about to send with
`read_input`.
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
