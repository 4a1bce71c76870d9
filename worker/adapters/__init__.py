"""One module for each outside system; each translates and decides nothing."""
