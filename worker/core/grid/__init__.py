"""The grid language: models, conditions, lint, the grid as a page, and the difference between two grids."""
