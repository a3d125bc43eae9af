"""Alembic's migrations, and `python -m shared.migrations` that runs them. Expand first, contract a release later."""
