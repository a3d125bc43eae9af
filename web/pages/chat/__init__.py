"""Draw the chat: the sidebar, the messages, the composer, the empty page and the dialogs.

May import `web.pages.frame` and `web.pages.notices`, and everything below `web.pages`.
"""
