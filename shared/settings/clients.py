"""Bounds on what clients may do to the page: how much, how often, how long, how many at once.

Anyone can reach the page without an account. Each bound is far above a person's needs and limits the cost of one
client.
"""

from __future__ import annotations

from dataclasses import dataclass

from shared.settings.field import setting


@dataclass(frozen=True, kw_only=True)
class QuestionBounds:
    """How much one person or one address may ask and follow."""

    max_question_characters: int = setting(32_000, "Longest question in characters", least=1)

    personal_data: str = setting(
        "send",
        "A question with a resident registration number, a card number or a key: `send`, `warn` once, or `block`",
    )

    owner_running_questions: int = setting(
        4, "Answers of one person at once; further questions wait their turn; 0: no limit", least=0
    )
    owner_active_questions: int = setting(
        24, "Waiting and running questions of one person, so that nobody fills the queue; 0: no limit", least=0
    )
    owner_questions_per_minute: int = setting(10, "Questions of one person per minute; 0: no limit", least=0)
    queue_questions: int = setting(
        10_000, "Most questions that wait in one lane; further ones are refused; 0: no limit", least=0
    )
    address_questions_per_minute: int = setting(
        600, "Questions of one address per minute and web process; an address may be an office; 0: no limit", least=0
    )
    address_newcomers_per_minute: int = setting(
        120, "New browsers (without a cookie) of one address per minute and web process; 0: no limit", least=0
    )
    streams: int = setting(
        1000, "Live streams of one web process at once, one for each visible page; 0: no limit", least=0
    )
    streams_per_owner: int = setting(
        20, "Live streams of one person at once; nobody has as many pages in view; 0: no limit", least=0
    )
    streams_per_address: int = setting(
        200, "Live streams of one address at once in each web process; 0: no limit", least=0
    )


@dataclass(frozen=True, kw_only=True)
class ConnectionBounds:
    """HTTP connections and WebSockets of one web process."""

    connections: int = setting(
        2000, "HTTP connections of one web process at once; a page holds two, and more while it loads", least=10
    )
    head_seconds: float = setting(
        15.0, "Longest time for the head of a request to arrive; browsers send it at once", least=0.1
    )
    body_seconds: float = setting(
        30.0, "Longest time for the body of a request to arrive; 1 MB from a slow phone takes 20", least=0.1
    )
    keep_alive_seconds: int = setting(5, "How long an idle connection is kept for its next request", least=1)
    stalled_seconds: float = setting(
        60.0, "How long a client may stop reading a response; a phone in a tunnel is back by then", least=0.1
    )
    sockets: int = setting(1000, "Open pages (WebSockets) in one web process, which then uses about 200 MB", least=1)
    sockets_per_owner: int = setting(40, "Open pages in one browser; each tab is one", least=1)
    sockets_per_address: int = setting(200, "Open pages of one address; an office may have only one address", least=1)
    sockets_without_identity: int = setting(
        32, "Open pages in browsers without our cookie, which only show a message", least=1
    )
    socket_openings_per_minute: float = setting(
        60.0, "Pages that one browser may open per minute, even all at once; twenty reloads are fine", least=1
    )
    socket_openings_per_second: float = setting(
        20.0, "Pages that one web process opens per second; each costs it about 13 ms, and the others wait", least=0.1
    )
    socket_messages_per_second: float = setting(
        10.0, "Messages that one page may send per second on average; nobody clicks faster", least=0.1
    )
    socket_message_burst: float = setting(
        40.0, "Messages that one page may send at once; each further 8 kB of a message count as one more", least=2
    )
    socket_message_bytes: int = setting(
        196_608, "Longest message of a page: at least 4 bytes per character of a question, plus 64 kB", least=65_536
    )
    socket_frame_seconds: float = setting(
        30.0, "Longest time for a message to arrive; a long question from a slow phone takes 20", least=1.0
    )
    socket_widgets: int = setting(500, "Widgets in one message of a page; ours has fewer than a hundred", least=1)
    socket_state_bytes: int = setting(
        32_768,
        "Longest message without its question: the address and the widgets, kept per session; ours has 0.5 kB",
        least=16_384,
    )


@dataclass(frozen=True, kw_only=True)
class PageBounds:
    """Page runs at once in one web process, and sessions kept without a connection."""

    page_runs: int = setting(4, "Page runs at once; more would make none faster and delay everything else", least=1)
    page_turn_seconds: float = setting(
        2.0, "A run that takes longer gives its place to another: it waits for Postgres and uses no CPU", least=0.01
    )
    page_runs_overdue: int = setting(
        12, "Runs that may have given up their place; Postgres needs as many connections (NARU_DATABASE_POOL)", least=0
    )
    page_run_seconds: float = setting(
        10.0,
        "Longest wait of a page to open, and of a click for the previous run; Postgres's timeouts are shorter",
        least=0.1,
    )
    kept_sessions: int = setting(64, "Pages that one web process remembers after their connection ended", least=0)
    kept_sessions_per_owner: int = setting(8, "Pages remembered per browser; each reload leaves one", least=0)
    kept_session_seconds: int = setting(
        120, "How long a page is remembered; a phone that changes networks is back by then", least=1
    )
