"""A tab's network traffic as Chromium reports it, in bytes on the wire."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from playwright.sync_api import Page


@dataclass
class Load:
    """One request. `bytes` is the size of its response on the wire, with headers; 0 from the browser's cache."""

    url: str
    kind: str
    bytes: int = 0
    is_cached: bool = False


class Network:
    """The requests that a page makes from now on."""

    def __init__(self, page: Page) -> None:
        self.socket_bytes = 0
        self._loads: dict[str, Load] = {}
        session = page.context.new_cdp_session(page)
        session.on("Network.requestWillBeSent", self._sent)
        session.on("Network.requestServedFromCache", self._cached)
        session.on("Network.responseReceived", self._answered)
        session.on("Network.loadingFinished", self._finished)
        session.on("Network.webSocketFrameReceived", self._framed)
        session.send("Network.enable")

    @property
    def loaded(self) -> list[Load]:
        """The requests that were answered over the network."""
        return [load for load in self._loads.values() if load.bytes and not load.is_cached]

    @property
    def bytes(self) -> int:
        """All bytes received, including WebSocket frames."""
        return sum(load.bytes for load in self.loaded) + self.socket_bytes

    @property
    def loads(self) -> list[Load]:
        """Every request, cached or not, finished or not."""
        return list(self._loads.values())

    def _sent(self, event: dict[str, Any]) -> None:
        self._loads[event["requestId"]] = Load(event["request"]["url"], event.get("type", "Other"))

    def _cached(self, event: dict[str, Any]) -> None:
        if event["requestId"] in self._loads:
            self._loads[event["requestId"]].is_cached = True

    def _answered(self, event: dict[str, Any]) -> None:
        if event["requestId"] in self._loads and event["response"].get("fromDiskCache"):
            self._loads[event["requestId"]].is_cached = True

    def _finished(self, event: dict[str, Any]) -> None:
        if event["requestId"] in self._loads:
            self._loads[event["requestId"]].bytes = int(event["encodedDataLength"])

    def _framed(self, event: dict[str, Any]) -> None:
        frame = event["response"]
        # Chromium reports binary frames in base64.
        self.socket_bytes += len(frame["payloadData"]) * 3 // 4 if frame["opcode"] == 2 else len(frame["payloadData"])
