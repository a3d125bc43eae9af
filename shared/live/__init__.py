"""The live stream of an answer: its events, and the worker's publisher. The reader is `web/watch/`.

The stream only carries text to browsers; the row in Postgres is authoritative.
"""
