"""Reads the reply of Chat Completions in the forms that real servers give it.

The format is that of OpenAI. Compatible servers and gateways differ from it in the ways that this module accepts;
tests/providers/test_shapes.py has one case for each.
"""

from __future__ import annotations

from typing import Any

from workers.providers.base import Finish
from workers.providers.openai.usage import usage_in
from workers.providers.sdk.decoding import ErrorEvent, EventReader, is_error
from workers.providers.sdk.reasoning import reasoning_in, sorted_parts

#: Reasons in lower case with "_". Anything else is Finish.OTHER.
_FINISHES = {
    **dict.fromkeys(("stop", "end_turn", "eos", "eos_token", "stop_sequence", "end", "complete"), Finish.STOP),
    **dict.fromkeys(
        ("length", "max_tokens", "max_output_tokens", "max_length", "model_length", "model_context_window_exceeded"),
        Finish.LENGTH,
    ),
    **dict.fromkeys(
        ("content_filter", "contentfilter", "content_filtered", "safety", "recitation", "blocklist",
         "prohibited_content", "sensitive", "guardrail_intervened"),
        Finish.CONTENT_FILTER,
    ),
    **dict.fromkeys(("refusal", "refused"), Finish.REFUSAL),
}  # fmt: skip
#: Texts with which servers say that the model has not finished.
_UNFINISHED = frozenset({"", "null", "none"})
_COUNTS = ("prompt_tokens", "completion_tokens")


class ChunkReader(EventReader):
    """Reads `chat.completion.chunk` events, or one whole `chat.completion`.

    Usage comes last and without choices, with every chunk, or never. Only the choice with index 0 is read.
    """

    _refused = False
    _had_delta = False

    def read(self, event: Any) -> str | None:
        """See `EventReader.read`."""
        choices = event.get("choices")
        if event.get("error"):
            raise ErrorEvent(event)
        if usage := event.get("usage"):
            self.usage = usage_in(usage, *_COUNTS) or self.usage
        if not choices:
            if choices is None and is_error(event):
                raise ErrorEvent(event)
            return None
        choice = choices[0]
        if choice.get("index"):
            choice = next((each for each in choices if not each.get("index")), None)
            if choice is None:
                return None
        delta = choice.get("delta")
        text = delta.get("content") if delta else None
        if text and type(text) is str and len(delta) == 1:  # as nearly all deltas
            self._had_delta = True
        else:
            text = self._other_text(choice, delta)
        if reason := choice.get("finish_reason"):
            self._end(choice, reason)
        return text

    def _other_text(self, choice: Any, delta: Any) -> str | None:
        """Return the text beside other fields, of a refusal, of parts, of a whole message or of older Completions.

        Note the reasoning.
        """
        if delta is None and self._had_delta:
            return None  # a message after deltas repeats them
        source = delta if delta is not None else choice.get("message") or {}
        if thought := reasoning_in(source):
            self.noted.append(thought)
        text = source.get("content") or choice.get("text")
        if not text and (text := source.get("refusal")):
            self._refused = True
        if not text:
            return None
        self._had_delta = self._had_delta or delta is not None
        if isinstance(text, str):
            return text
        thought, text = sorted_parts(text if isinstance(text, list) else [text])
        self.noted.append(thought)
        return text

    def _end(self, choice: Any, reason: object) -> None:
        name = reason.lower().replace("-", "_") if isinstance(reason, str) else ""
        if name == "error":  # gateways send this when the server behind them failed
            if choice.get("error"):
                raise ErrorEvent(choice)
            raise ConnectionError("the server behind the gateway failed")
        if isinstance(reason, str) and name in _UNFINISHED:
            return
        self.finish = Finish.REFUSAL if self._refused else _FINISHES.get(name, Finish.OTHER)
