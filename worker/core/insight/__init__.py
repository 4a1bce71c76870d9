"""Questions about a score: why, what would move it, how it went, and a replay over files."""
