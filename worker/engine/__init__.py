"""The batch loop: fetched records are folded, stored and published exactly once."""
