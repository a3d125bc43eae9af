"""Model text for Streamlit's Markdown. May import `web.markdown.bounds` only."""

from web.markdown.inline import JOINER, plain
from web.markdown.rewrite import to_streamlit

__all__ = ["JOINER", "plain", "to_streamlit"]
