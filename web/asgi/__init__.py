"""The ASGI side of the page: what stands between uvicorn and Streamlit, before any script runs.

Bounds on bytes, time and number live here. Routes (`web/api`) and the page (`web/pages/chat`) do not, and nothing
here imports them.
"""
