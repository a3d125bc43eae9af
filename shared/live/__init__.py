"""The live stream of an answer: its events, and the worker's publisher. The reader is `web/watch/`.

The stream carries text to browsers and is never the truth: the row in Postgres is.
"""
