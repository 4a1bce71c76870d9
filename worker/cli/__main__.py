"""`python -m worker.cli`: the `leadpulse` command, wherever it is installed."""

from worker.cli import main

main()
