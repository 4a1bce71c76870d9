"""The `leadpulse` command: thin shells around the program's functions."""
