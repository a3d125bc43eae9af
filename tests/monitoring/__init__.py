"""Tests of the configuration of Prometheus, Alertmanager and Grafana, and of the runbook."""
