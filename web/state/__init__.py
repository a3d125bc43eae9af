"""The page's memory: the only package that uses `session_state`, `query_params` and the page's cookies.

Everything here is a cache. The address, the browser's signed cookie and Postgres are authoritative. Widgets are read
here too, because their values are in `session_state`.

    keys          the names of all values
    values        the types of the values kept between runs
    browser       the owner, the connection, the language, the time zone
    conversation  the conversation in the address, and what was last read
    composing     the question being written, and the fate of the last one
    dialogs       sentences and dialogs to show in a later run

Drawing is in `web/views/`. May import `web.asgi` (names of headers and cookies) and `shared`.
"""

from web.state.browser import (
    choose_locale,
    client,
    has_browser,
    has_routes,
    locale,
    locale_choice,
    log_ids,
    owner,
    person,
    timezone,
    verdict,
    was_read,
)
from web.state.composing import (
    ask_for_fate,
    chosen_model,
    composed,
    idempotency_key,
    note_warning,
    offer_model,
    put_back,
    question,
    renew_idempotency_key,
    tell_fate,
    unsure_key,
    warned_of,
)
from web.state.conversation import (
    asked_id,
    came_back,
    conversation_id,
    follow_link,
    give_up_conversation,
    is_fresh,
    is_gone,
    leave_conversation,
    listed,
    remember,
    remember_list,
    remembered,
    settle_address,
    widen_window,
    window,
)
from web.state.dialogs import (
    ask_for_dialog,
    ask_for_whole_page,
    chosen_menu_item,
    decided,
    decision,
    dialog,
    end_dialog,
    show_notice,
    take_notice,
    take_whole_page,
)
from web.state.keys import (
    COMPOSER,
    LANGUAGE,
    LIVE,
    LOCALE_COOKIE,
    MENU,
    MODEL,
    OWNER,
    WINDOW,
)

__all__ = [
    "COMPOSER",
    "LANGUAGE",
    "LIVE",
    "LOCALE_COOKIE",
    "MENU",
    "MODEL",
    "OWNER",
    "WINDOW",
    "ask_for_dialog",
    "ask_for_fate",
    "ask_for_whole_page",
    "asked_id",
    "came_back",
    "choose_locale",
    "chosen_menu_item",
    "chosen_model",
    "client",
    "composed",
    "conversation_id",
    "decided",
    "decision",
    "dialog",
    "end_dialog",
    "follow_link",
    "give_up_conversation",
    "has_browser",
    "has_routes",
    "idempotency_key",
    "is_fresh",
    "is_gone",
    "leave_conversation",
    "listed",
    "locale",
    "locale_choice",
    "log_ids",
    "note_warning",
    "offer_model",
    "owner",
    "person",
    "put_back",
    "question",
    "remember",
    "remember_list",
    "remembered",
    "renew_idempotency_key",
    "settle_address",
    "show_notice",
    "take_notice",
    "take_whole_page",
    "tell_fate",
    "timezone",
    "unsure_key",
    "verdict",
    "warned_of",
    "was_read",
    "widen_window",
    "window",
]
