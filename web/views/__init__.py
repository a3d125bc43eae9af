"""Draw the page: `frame` and `notices` serve every page, `chat/` is the chat.

The page's memory is `web/state/`. May import everything below it in `web`, but not the routes (`web/api/`).
"""
