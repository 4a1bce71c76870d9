"""The file of connections: sites and sources that events come from, and targets that are acted on."""
