"""Backup, restore and the restore drill: docs/operations/backup.md says how they are used.

A backup is two files: `naru-TIME.dump.enc` (pg_dump's custom format, encrypted) and `naru-TIME.json` (its manifest,
written last: without it there is no backup). The order to read in: take.py, restore.py, swap.py, drill.py.
"""
