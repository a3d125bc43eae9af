"""The ASGI middleware and server classes between uvicorn and Streamlit: identity, limits and static files.

Limits on bytes, time and number of connections are enforced here, before any script runs. Routes (`web/api/`) and the
page (`web/views/`) live elsewhere. May import `web.runtime` and the modules below it, and `shared`.
"""
