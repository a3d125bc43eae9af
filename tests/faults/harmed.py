"""`python -m tests.faults.harmed`: a worker that some questions harm, as a bug in a parser or driver could.

    poison    the process exits soon after it has built the prompt
    stall     the event loop blocks, in the first attempt only

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
    """Build the prompt as the product does, and start the harm that the question names."""
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
