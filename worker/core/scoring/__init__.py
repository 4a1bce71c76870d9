"""From a grid and a lead's events to sums, a score, a stage and the outputs of a move."""
