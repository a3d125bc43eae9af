"""Draw the page: `frame` and `notices` serve every page, `chat/` is the chat.

What the page remembers is in `web/state/`. May import everything below it in `web`, but not the routes (`web/api/`).
"""
