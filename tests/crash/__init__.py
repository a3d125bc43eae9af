"""Crash tests: kill, freeze and disconnect real processes, and check that every request still ends correctly."""
