"""`leadpulse demo`: the worker as it is, over made-up traffic, a simulated day a second, with servers that pip alone installs.

The broker is librdkafka's mock cluster. It speaks the Kafka protocol, but fences no producer, keeps no transactional offsets,
and forgets everything at the end. It shows what the worker does, and proves nothing about its guarantees. `tests/system` does.
"""
