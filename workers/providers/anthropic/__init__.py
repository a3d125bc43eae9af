"""Anthropic and every server that speaks Messages."""
