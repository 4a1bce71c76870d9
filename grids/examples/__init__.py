"""Scoring models that vendors published, as grids; each says which page it follows."""
