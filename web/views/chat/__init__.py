"""Draw the chat: the sidebar, the messages, the composer, the empty page and the dialogs.

May import `web.views.frame` and `web.views.notices`, and everything below `web.views`.
"""
