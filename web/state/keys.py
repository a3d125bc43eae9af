"""The keys of `session_state`, of widgets and of the cookie that only the page reads."""

from __future__ import annotations

import re

#: Keys of widgets: their values are Streamlit's, their names are ours.
LIVE = "live"
COMPOSER = "composer"
MODEL = "model"
LANGUAGE = "language"
MENU = "conversation-menu"

#: Under this name `st.user` has the owner that Streamlit bound the session to when it began (web/app.py).
OWNER = "naru_owner"
LOCALE_COOKIE = "naru_locale"
WINDOW = 30

#: An idempotency key as it is made here.
KEY_FORM = re.compile("[0-9a-f]{32}")
#: A returned connection, as `live/connection.js` names it.
BACK_FORM = re.compile("back [0-9]{1,20}")

CONVERSATION = "naru.conversation"
FRESH = "naru.fresh"
GONE = "naru.gone"
INSTEAD = "naru.instead"
KEY = "naru.idempotency_key"
WINDOW_SIZE = "naru.window"
NOTICE = "naru.notice"
DIALOG = "naru.dialog"
WHOLE_PAGE = "naru.whole_page"
DECIDED = "naru.decided"
OPENED = "naru.opened"
ACCEPTED = "naru.accepted"
RETURNED = "naru.returned"
UNSURE = "naru.unsure"
FATE = "naru.fate"
SESSION = "naru.session"
LOCALE = "naru.locale"
LISTED = "naru.listed"
