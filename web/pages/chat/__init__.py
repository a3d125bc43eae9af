"""The chat: the sidebar, the messages, the composer, the empty page, the dialogs.

May import `web.pages.frame` and `notices`, the state, the live answer and the Markdown.
"""
