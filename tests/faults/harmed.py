"""`python -m tests.faults.harmed`: a worker that some questions harm, as a bug in a parser or driver could.

    poison    its process ends at once, a moment after the first words
    stall     its event loop stands still, in the first attempt

Everything else is `workers/`.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from typing import Any

from tests.patience import slowness
from workers.__main__ import main
from workers.answering import answer as life
from workers.process.context import Context

AFTER_SECONDS = 0.3
STALL_SECONDS = 20.0 * slowness()

_prompt = life._prompt


def prompt(context: Context, claimed: Any) -> Any:
    """The product's own function; it also looks at the question."""
    made = _prompt(context, claimed)
    words = made.messages[-1].text
    if "poison" in words:
        threading.Timer(AFTER_SECONDS, os._exit, [1]).start()
    if "stall" in words and claimed.attempt == 1:
        context.loop.call(time.sleep, STALL_SECONDS)
    return made


life._prompt = prompt

if __name__ == "__main__":
    sys.exit(main())
