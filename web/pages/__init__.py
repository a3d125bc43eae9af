"""What `web/page.py` draws: `frame` and `notices` serve every page, `chat/` is the chat.

May import everything below it in `web`; the routes (`web/api/`) stand above.
"""
