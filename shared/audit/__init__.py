"""The record of events: who did what to whom and when, without a word of any chat.

    kinds      the kinds of events, and the details that each may have
    acting     who acts, and from which address
    record     record an event in the caller's transaction
    chain      the hash of an event, and the walk along the chain
    marks      the sealed head, the anchor that the purge leaves, and how far the record was sent
    verify     verify the whole record
    events     read events: filtered, page by page, and as JSON lines
    readings   tell people that an administrator has read their chats
    sending    NARU_AUDIT_LOG: write events to stdout or syslog

A room of its own below people, conversations and retention, because all three record events. Owners are their keys
here. `web/audit_keeper.py` seals, removes and sends; decision 0042 says what the chain proves. May import the tables,
the keys, the settings and `shared.postgres`.
"""

from shared.audit.acting import acting as acting
from shared.audit.kinds import Kind as Kind
from shared.audit.record import record as record
