"""Rewrite a model's Markdown so that Streamlit renders it safely and predictably.

The browser's twin of these rules is in `web/live/`. May import nothing else of ours.
"""

from web.markdown.inline import JOINER, plain
from web.markdown.rewrite import to_streamlit

__all__ = ["JOINER", "plain", "to_streamlit"]
