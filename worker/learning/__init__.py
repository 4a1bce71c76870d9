"""Points and probabilities from outcomes: tables of leads, rates, fits, comparisons and reports."""
