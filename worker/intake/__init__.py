"""Ways in: other formats become CloudEvents, and events become Kafka records."""
