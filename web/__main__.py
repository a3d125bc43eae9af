"""`python -m web`: serve the page. One process; run several side by side.

uvicorn runs in this process with Streamlit's options. When told to stop, it ends live connections at once instead of
waiting for browsers, which never close them.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import signal
import socket
import sys

import uvicorn

from shared import logs
from shared.errors import SettingsError
from shared.hosts import refuse_open_guests
from shared.interpreter import limit_malloc_arenas, raise_open_file_limit, shorten_switch_interval
from shared.live.shards import refuse_twins
from shared.settings import Settings, load_settings
from web.asgi.http import BoundedHttp
from web.asgi.patience import watch_closes
from web.asgi.websocket import BoundedWebSocket
from web.log_lines import adopt_library_loggers
from web.runtime import Runtime, current_runtime

log = logging.getLogger("web")

#: How long requests may continue after a stop signal.
GRACE_SECONDS = 3
PING_SECONDS = 30.0
#: uvicorn ticks this often to check for a stop, and renews the Date header every tenth tick. We run every fifth tick.
UVICORN_TICK_SECONDS = 0.1
TICKS_IN_ONE = 5
TICKS_BETWEEN_SWEEPS = 10


class Server(uvicorn.Server):
    """A uvicorn server that ends the live connections first when it shuts down."""

    def __init__(self, config: uvicorn.Config, runtime: Runtime) -> None:
        super().__init__(config)
        self._runtime = runtime

    async def on_tick(self, counter: int) -> bool:
        """Check for a stop twice a second instead of ten times, which halves the CPU use of an idle process."""
        if counter % TICKS_BETWEEN_SWEEPS == 0:
            watch_closes(self.server_state.connections)
        if counter:
            await asyncio.sleep((TICKS_IN_ONE - 1) * UVICORN_TICK_SECONDS)
        return await super().on_tick(counter * TICKS_IN_ONE)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the live connections, then stop serving."""
        self._runtime.close_viewers()
        await super().shutdown(sockets)


def config_of(settings: Settings) -> uvicorn.Config:
    """Return uvicorn's configuration."""
    return uvicorn.Config(
        importlib.import_module("web.app").app,
        host=settings.host,
        port=settings.port,
        http=BoundedHttp,
        ws=BoundedWebSocket,
        ws_ping_interval=PING_SECONDS,
        ws_ping_timeout=PING_SECONDS,
        ws_max_size=settings.socket_message_bytes,
        # Compressing each of Streamlit's small messages costs more than it saves.
        ws_per_message_deflate=False,
        timeout_keep_alive=settings.keep_alive_seconds,
        timeout_graceful_shutdown=GRACE_SECONDS,
        # Trust X-Forwarded-* from FORWARDED_ALLOW_IPS only; uvicorn's default is this machine.
        proxy_headers=True,
        server_header=False,
        access_log=False,
        log_config=None,
        log_level=None,  # keep the level set by shared/logs.py
    )


def main() -> int:
    """Run the command. Return 1, after printing one sentence, if it cannot start."""
    shorten_switch_interval()
    limit_malloc_arenas()
    raise_open_file_limit()
    try:
        settings = load_settings()
        refuse_twins(settings)
        logs.configure(settings.log_level, part="web")
        adopt_library_loggers()
        runtime = current_runtime()
        refuse_open_guests(settings, listens_on=settings.host)
        server = Server(config_of(settings), runtime)
    except SettingsError as error:
        sys.stderr.write(f"web: {error}\n")
        return 1
    for number in (signal.SIGTERM, signal.SIGINT):
        # Applies until uvicorn installs its own handlers, and after it restores these at shutdown.
        signal.signal(number, lambda *_: sys.exit(0))
    server.run()
    return 0 if server.started else 1


if __name__ == "__main__":
    sys.exit(main())
