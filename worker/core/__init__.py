"""The pure core: events in, scores and transitions out. It knows no clock, log, environment, Kafka or Redis."""
