"""A small real server that speaks Ollama's API and plays scripted answers."""

from __future__ import annotations

import json

from tests.providers.wild import Call, Reply, WildServer, json_reply

WINDOW = 16_384
LINES = {"Content-Type": "application/x-ndjson"}
DONE = {"message": {"content": ""}, "done": True, "done_reason": "stop", "prompt_eval_count": 26, "eval_count": 9}


def line(value: object) -> bytes:
    """Return one line of a reply."""
    return json.dumps(value, ensure_ascii=False).encode() + b"\n"


def said(text: str, **more: object) -> bytes:
    """Return a line with this text; `more` adds to its message."""
    return line({"model": "m", "message": {"role": "assistant", "content": text, **more}, "done": False})


def lines(*pieces: bytes | float, cut: bool = False) -> Reply:
    """Return a reply of 200 with these lines; numbers are pauses."""
    return Reply(pieces, headers=LINES, cut=cut)


class OllamaServer(WildServer):
    """Plays `replies` to /api/chat, and tells the window of each model at /api/show."""

    def __init__(self, *replies: Reply, window: int | None = WINDOW) -> None:
        super().__init__(*replies)
        self.shown: list[str] = []
        #: What /api/show answers instead of the window.
        self.description: Reply | None = None
        self._info = {"general.architecture": "llama", "llama.context_length": window} if window else {}

    def reply_to(self, call: Call) -> Reply:
        """Return what Ollama would, by the path."""
        if call.path == "/api/show":
            self.shown.append(call.body["model"])
            return self.description or json_reply({"model_info": self._info})
        assert call.path == "/api/chat"
        return super().reply_to(call)


DONE_LINE = line(DONE)
