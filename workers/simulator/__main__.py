"""`python -m workers.simulator`: runs the simulator. Prints one line when it listens."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from pathlib import Path

from workers.simulator.journal import Journal
from workers.simulator.script import BadScript, read
from workers.simulator.server import Simulator


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    options = _options()
    runner = asyncio.Runner(loop_factory=_fast_loop())
    with runner:
        runner.run(_serve(options))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m workers.simulator", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0: any free port, which is printed")
    parser.add_argument("--pace", type=float, default=50.0, help="tokens per second; 0: all at once")
    parser.add_argument("--first-token", type=float, default=0.3, help="seconds to the first token")
    parser.add_argument(
        "--script", type=_script, default="", help="options for every question: see workers/simulator/script.py"
    )
    parser.add_argument("--slots", type=int, default=0, help="answers at once, the others wait; 0: no limit")
    parser.add_argument("--window", type=int, default=0, help="the window in the list of models, in tokens; 0: none")
    parser.add_argument("--log", type=Path, default=None, help="a file for one JSON line per event of a call")
    return parser.parse_args()


def _script(text: str) -> str:
    try:
        read("", text)
    except BadScript as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def _fast_loop() -> type[asyncio.AbstractEventLoop] | None:
    """Return uvloop where it is installed: the simulator shares its machine with the processes that it measures."""
    try:
        import uvloop  # noqa: PLC0415 - not on every platform
    except ImportError:
        return None
    return uvloop.Loop


async def _serve(options: argparse.Namespace) -> None:
    journal = Journal(options.log)
    simulator = Simulator(
        pace=options.pace,
        first_token_seconds=options.first_token,
        journal=journal,
        script=options.script,
        slots=options.slots,
        window=options.window,
    )
    server = await simulator.listen(options.host, options.port)
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    host, port = server.sockets[0].getsockname()[:2]
    sys.stdout.write(f"demo simulator listens on http://{f'[{host}]' if ':' in host else host}:{port}\n")
    sys.stdout.flush()
    await stopped.wait()
    server.close()
    journal.close()


if __name__ == "__main__":
    main()
