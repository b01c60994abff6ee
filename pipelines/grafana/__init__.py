"""Grafana while it runs: dashboards and alert rules pushed to it, and a place of its own for each operator."""
