"""The keys of `session_state`, of widgets and of the cookie that only the page reads."""

from __future__ import annotations

import re

#: Keys of widgets: their values are Streamlit's, their names are ours.
LIVE = "live"
COMPOSER = "composer"
MODEL = "model"
LANGUAGE = "language"
MENU = "conversation-menu"
TUNING_PANEL = "tuning"
INSTRUCTIONS = "tuning-instructions"
TEMPERATURE = "tuning-temperature"
EFFORT = "tuning-effort"
ADMIN_PART = "admin-part"
ADMIN_LIST = "admin-list"
ADMIN_SPAN = "admin-span"
ADMIN_FIND = "admin-find"
ADMIN_FIND_REQUEST = "admin-find-request"
ADMIN_INVITED_ROLE = "admin-invited-role"
ADMIN_MODEL = "admin-model"
ADMIN_BANNER_EN = "admin-banner-en"
ADMIN_BANNER_KO = "admin-banner-ko"
ADMIN_GROUP = "admin-group-chosen"
#: The beginning of the key of a box for a limit.
ADMIN_LIMIT = "admin-limit"

#: The settings of the conversation, and the panel with its fields.
TUNING, TUNING_DRAFT, TUNING_NOTICE = "naru.tuning", "naru.tuning_draft", "naru.tuning_notice"
OF_TUNING = (TUNING, TUNING_DRAFT, TUNING_NOTICE, TUNING_PANEL, INSTRUCTIONS, TEMPERATURE, EFFORT)

#: The key of `st.user` for the owner that Streamlit bound the session to (web/app.py).
OWNER = "naru_owner"
LOCALE_COOKIE = "naru_locale"
WINDOW = 30

#: The format of our idempotency keys.
KEY_FORM = re.compile("[0-9a-f]{32}")
#: The format of the marks that `live/connection.js` makes for returned connections.
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
WARNED = "naru.warned"
UNSURE = "naru.unsure"
FATE = "naru.fate"
SESSION = "naru.session"
WAS_READ = "naru.was_read"
LOCALE = "naru.locale"
LISTED = "naru.listed"
ADMIN_REQUEST = "naru.admin_request"
ADMIN_PERSON = "naru.admin_person"
ADMIN_WISH = "naru.admin_wish"
ADMIN_TOLD = "naru.admin_told"
#: Before the key of a box: the text with which it was filled.
FILLED = "naru.filled."
