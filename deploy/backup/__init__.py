"""Backup, restore and the restore drill. docs/operations/backup.md says how to use them.

A backup is two files: `naru-TIME.dump.enc` (pg_dump's custom format, encrypted) and `naru-TIME.json` (its manifest,
written last: without it there is no backup). Read in this order: take.py, restore.py, swap.py, drill.py.
"""
