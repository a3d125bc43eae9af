"""What Prometheus, Alertmanager and Grafana are given: the rules, the runbook, the boards."""
