"""Bounds on what clients may do to the page: how much, how often, how long, how many at once.

A stranger reaches the page before anyone knows who they are. Each bound is far above what a person needs, and
keeps what one client costs from growing without end.
"""

from __future__ import annotations

from dataclasses import dataclass

from shared.settings.field import setting


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientBounds:
    """The bounds of one web process, and of one owner or client address in it."""

    max_question_characters: int = setting(32_000, "Longest question that is accepted", least=1)

    owner_active_questions: int = setting(
        16, "Questions of one person that wait or run at once: nobody fills the queue alone; 0: any number", least=0
    )
    owner_questions_per_minute: int = setting(
        30, "Questions that one person asks within a minute, far above what people type; 0: any number", least=0
    )
    address_questions_per_minute: int = setting(
        600, "The same for one address, which may be a whole office, in each web process; 0: any number", least=0
    )
    address_newcomers_per_minute: int = setting(
        120, "Browsers without a cookie that one address may bring, in each web process; 0: any number", least=0
    )
    streams: int = setting(
        1000, "Live streams of one web process at once: one for each visible page; 0: any number", least=0
    )
    streams_per_owner: int = setting(
        20, "Live streams of one person at once: so many pages are not looked at side by side; 0: any number", least=0
    )
    streams_per_address: int = setting(
        200, "Live streams of one address, which may be a whole office, in each web process; 0: any number", least=0
    )
    connections: int = setting(
        2000, "HTTP connections of one web process at once: each page holds two, and some more while it loads", least=10
    )
    head_seconds: float = setting(
        15.0, "How long a request's head may take to arrive; a browser sends it at once", least=0.1
    )
    body_seconds: float = setting(
        30.0, "How long its body may take: an upload of 1 MB by a slow phone does in 20", least=0.1
    )
    keep_alive_seconds: int = setting(5, "How long a connection without a request is kept for the next one", least=1)
    stalled_seconds: float = setting(
        60.0, "How long a client may take nothing of an answer: a phone in a tunnel is back by then", least=0.1
    )
    sockets: int = setting(
        1000, "Pages (WebSockets) open at once in one web process, which then uses about 200 MB", least=1
    )
    sockets_per_owner: int = setting(40, "Pages open at once in one browser: each tab is one", least=1)
    sockets_per_address: int = setting(200, "Pages open at once from one address: an office may have one", least=1)
    sockets_without_identity: int = setting(
        32, "Pages open at once in browsers without our cookie: they only see a sentence", least=1
    )
    socket_openings_per_minute: float = setting(
        60.0, "How often one browser may open a page, as many at once: twenty reloads are fine", least=1
    )
    socket_openings_per_second: float = setting(
        20.0, "Pages that one web process opens: each takes about 13 ms of it, and the others wait", least=0.1
    )
    socket_messages_per_second: float = setting(
        10.0, "Messages that one page may send on average: nobody clicks faster", least=0.1
    )
    socket_message_burst: float = setting(
        40.0, "Messages that it may send at once; each 8 kB of a message count as one more", least=2
    )
    socket_message_bytes: int = setting(
        196_608, "Longest message of a page: at least 4 bytes a character of a question, and 64 kB", least=65_536
    )
    socket_frame_seconds: float = setting(
        30.0, "How long a message may take to arrive: a long question by a slow phone does in 20", least=1.0
    )
    socket_widgets: int = setting(500, "Widgets that a page's message may name; ours has fewer than a hundred", least=1)
    socket_state_bytes: int = setting(
        32_768,
        "Longest message without its question: the address and the widgets, which a session keeps; ours has 0.5 kB",
        least=16_384,
    )
    page_runs: int = setting(
        4, "Page runs under way at once: more make none quicker and keep all else waiting", least=1
    )
    page_turn_seconds: float = setting(
        2.0, "A run that takes longer makes room for another: it waits for Postgres, and works no more", least=0.01
    )
    page_runs_overdue: int = setting(
        12, "Runs that may make room so; Postgres has as many connections for them (NARU_DATABASE_POOL)", least=0
    )
    page_run_seconds: float = setting(
        10.0,
        "How long a page waits to be opened, and its next click for the run before it; Postgres's timeouts are shorter",
        least=0.1,
    )
    kept_sessions: int = setting(64, "Pages remembered after their connection has ended, in one web process", least=0)
    kept_sessions_per_owner: int = setting(8, "The same of one browser: each reload leaves one", least=0)
    kept_session_seconds: int = setting(
        120, "How long they are remembered: a phone that changes its network is back by then", least=1
    )

    def client_rules(self) -> list[tuple[bool, str]]:
        """Return whether each rule between these bounds holds, and the sentence that says which does not."""
        return [
            (
                self.socket_message_bytes >= 4 * self.max_question_characters + 65_536,
                (
                    "NARU_SOCKET_MESSAGE_BYTES must be at least 4 x NARU_MAX_QUESTION_CHARACTERS + 65536: "
                    "the longest question has to fit into one message"
                ),
            ),
            (
                self.socket_message_burst >= 2 + self.socket_message_bytes / 8192,
                (
                    "NARU_SOCKET_MESSAGE_BURST must be at least 2 + NARU_SOCKET_MESSAGE_BYTES / 8192: "
                    "the longest message has to fit into the burst"
                ),
            ),
        ]
