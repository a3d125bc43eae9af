"""The web process: the page and its routes.

`pyproject.toml` orders the packages from top to bottom, and each may import only those below it. Model calls
(`workers/`) and the rules of requests and conversations (`shared/`) do not live here.
"""
