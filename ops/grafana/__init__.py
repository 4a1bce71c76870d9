"""Grafana's dashboards as code: `python -m ops.grafana` writes the JSON files that Grafana is provisioned with."""
