"""The window of a model in the tokens of our estimate, and the shorter prompt after a refusal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from shared.errors import ContextTooLong
from shared.messages import Message
from workers.answering import prompts
from workers.process.context import Context
from workers.providers.base import Prompt
from workers.providers.tokens import size_of
from workers.providers.windows import RATIO, WINDOW, Stated, WindowExceeded, output_limit

#: The most tokens of a server for one of our estimate. More means that the refusal was misread.
_MOST = 4.0
#: The largest ratio that is kept for everybody: no tokenizer needs more for prose. One person's text may need more.
_MOST_KEPT = 1.7
#: A window of fewer tokens is not believed unless the server names it.
_LEAST_TOKENS = 1024


@dataclass(frozen=True, slots=True)
class Shorter:
    """A prompt to try after a refusal, and what the refusal taught, to be noted once the prompt is answered."""

    prompt: Prompt
    facts: Mapping[str, float]


def window_of(context: Context, model: str, offered: int | None) -> int | None:
    """Return the window of a model; None if it is unknown. `offered` is the window in its offer.

    It is the smaller one of the offer's and the one learnt: a gateway may allow less than the model.
    """
    facts = context.registry.knowledge.about(model)
    known = [int(each) for each in (offered, facts.get(WINDOW)) if each]
    return _in_our_tokens(min(known), facts.get(RATIO)) if known else None


def shorter(branch: Sequence[Message], prompt: Prompt, refusal: ContextTooLong) -> Shorter | None:
    """Return the prompt with as many messages of the branch as fit; None if nothing can be cut.

    The refusal's figures decide. Without any, the prompt is halved.
    """
    size = max(size_of(prompt), 1)
    stated = refusal.stated if isinstance(refusal, WindowExceeded) else Stated()
    if stated.window is None:
        kept = prompts.newest_within(size // 2, prompt.messages)
        # A refused prompt bounds the window, unless it was so short that the refusal meant something else.
        facts: dict[str, float] = {WINDOW: size} if size >= _LEAST_TOKENS else {}
        return _cut(branch, prompt, kept, prompt.max_output_tokens, facts)
    facts = {WINDOW: stated.window}
    # A server that refuses what fits by our estimate, and names no limit but its window, counts at least the window.
    counted = stated.prompt_tokens or (0 if prompt.max_output_tokens else stated.window)
    ratio = min(counted / size, _MOST)
    if ratio > 1 or stated.prompt_tokens:
        # A ratio of 1 corrects one that was kept.
        facts[RATIO] = round(min(max(ratio, 1.0), _MOST_KEPT), 2)
    window = _in_our_tokens(stated.window, ratio)
    limit = output_limit(prompt.max_output_tokens, window)
    kept = prompts.fitted(prompt.messages, context_tokens=window, output_tokens=limit, system=prompt.system or "")
    found = _cut(branch, replace(prompt, window=window), kept, limit, {} if stated.is_guess else facts)
    return found if found is not None and size_of(found.prompt) < window else None


def _cut(
    branch: Sequence[Message], prompt: Prompt, kept: tuple[Message, ...], limit: int | None, facts: Mapping[str, float]
) -> Shorter | None:
    is_same = len(kept) == len(prompt.messages)
    if is_same and limit == prompt.max_output_tokens:
        return None
    left_out = prompt.left_out if is_same else prompts.place_of(kept[0], branch)
    return Shorter(replace(prompt, messages=kept, max_output_tokens=limit, left_out=left_out), facts)


def _in_our_tokens(window: int, ratio: float | None) -> int:
    return int(window / ratio) if ratio and ratio > 1 else window
