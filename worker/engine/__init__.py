"""The batch loop: what is fetched is folded, stored and published exactly once."""
