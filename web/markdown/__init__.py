"""Model text for Streamlit's Markdown. May import `web.bounds` only."""

from web.markdown.rewrite import IN_CODE, JOINER, plain, to_streamlit

__all__ = ["IN_CODE", "JOINER", "plain", "to_streamlit"]
