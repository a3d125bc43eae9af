"""One answer: its time limits and its retries."""

from __future__ import annotations

from dataclasses import dataclass

from shared.settings.field import setting

#: The Redis transport redelivers an unacknowledged message after this time. A request ends sooner, so no hint outlives
#: its request; a rule in settings.py keeps it so.
VISIBILITY_TIMEOUT_SECONDS = 3600


@dataclass(frozen=True, kw_only=True)
class Answers:
    """Limits of one request and of its attempts."""

    first_token_seconds: float = setting(120.0, "Longest wait for a model's first word", least=0.05)
    idle_seconds: float = setting(60.0, "Longest pause within an answer", least=0.05)
    thinking_seconds: float = setting(900.0, "Longest time that a model thinks without writing", least=0.1)
    total_seconds: float = setting(900.0, "Longest duration of one attempt", least=0.1)
    deadline_seconds: float = setting(1800.0, "Longest life of a request, including its waits", least=0.1)
    retry_seconds: float = setting(300.0, "How long a request that the provider refuses is tried again", least=0.0)
    unserved_seconds: float = setting(
        600.0, "How long a request waits for a model that no worker serves any more", least=1.0
    )
    retry_after_limit_seconds: float = setting(120.0, "Longest wait that a provider may ask for", least=0.1)
    answer_cache_seconds: int = setting(
        0, "Answer exactly the same prompt of the same person with the earlier answer for this long; 0: never", least=0
    )
    max_output_tokens: int = setting(0, "Longest answer in tokens; 0: the model's own limit", least=0)
