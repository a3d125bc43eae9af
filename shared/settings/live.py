"""The live stream of an answer."""

from __future__ import annotations

from dataclasses import dataclass

from shared.settings.field import setting


@dataclass(frozen=True, kw_only=True)
class Live:
    """How often a worker sends text, and how long Redis keeps it."""

    live_redis_urls: str = setting(
        "",
        "Redis servers that share the live streams, as addresses separated by commas; empty: only REDIS_URL",
        secret=True,
        kind="redis_list",
    )
    flush_seconds: float = setting(
        0.02, "How often a worker sends new text to Redis; up to half as long again while it is busy", least=0.001
    )
    stream_seconds: int = setting(900, "How long Redis keeps a live stream", least=10)
    ended_stream_seconds: int = setting(120, "How long Redis keeps a live stream after its end", least=1)
