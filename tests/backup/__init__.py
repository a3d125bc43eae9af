"""Backup and restore, on real servers that are really harmed, and the real product on top."""
