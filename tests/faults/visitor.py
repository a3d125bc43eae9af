"""A browser's side of Streamlit's WebSocket: draws the page, or floods it.

`crowd.py` follows answers on the event stream and does not run the page's script. This module tests the script.
"""

from __future__ import annotations

import asyncio

import aiohttp
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ClientState_pb2 import ClientState
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

DRAWN_SECONDS = 4.0
FLOOD = 1_000


def rerun() -> bytes:
    """Return the message that makes Streamlit draw the page."""
    return bytes(BackMsg(rerun_script=ClientState()).SerializeToString())


async def draws_page(session: aiohttp.ClientSession, url: str, cookie: str) -> bool:
    """Return whether the page is drawn completely within DRAWN_SECONDS."""
    try:
        async with (
            asyncio.timeout(DRAWN_SECONDS),
            session.ws_connect(f"{url}/_stcore/stream", protocols=("streamlit",), headers={"Cookie": cookie}) as socket,
        ):
            await socket.send_bytes(rerun())
            async for message in socket:
                if message.type is not aiohttp.WSMsgType.BINARY:
                    continue
                if ForwardMsg.FromString(message.data).WhichOneof("type") == "script_finished":
                    return True
    except (aiohttp.ClientError, OSError, TimeoutError):
        return False
    return False


async def flood(session: aiohttp.ClientSession, url: str) -> None:
    """Send FLOOD messages on one socket without a cookie, and disconnect at once."""
    try:
        async with (
            asyncio.timeout(DRAWN_SECONDS),
            session.ws_connect(f"{url}/_stcore/stream", protocols=("streamlit",)) as socket,
        ):
            for _ in range(FLOOD):
                await socket.send_bytes(rerun())
    except (aiohttp.ClientError, OSError, TimeoutError):
        return
