"""What a user might pick instead, each doing the same work on the same log; `spec.py` says what the work is."""
