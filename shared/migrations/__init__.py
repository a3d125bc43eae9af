"""Alembic's migrations and their command, `python -m shared.migrations`. Expand first, contract one release later."""
