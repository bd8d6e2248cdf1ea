"""Prometheus for a lab: its configuration, the alert rules with their tests, and a command."""
