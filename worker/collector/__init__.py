"""`leadpulse collect`: events over HTTP become Kafka records, and webhooks become events."""
