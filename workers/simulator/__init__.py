"""The demo simulator: a small HTTP server that speaks both vendors' wire formats and answers with canned text.

It replaces a model where none is connected, and says so; it is also the provider of every test. The same question gets
the same answer, so that tests can compute it (`text_for`). The last message of a request can ask for a length, a pace
and faults, in the form that `script` documents. The simulator needs no Postgres and no Redis. Only tests import it.

    python -m workers.simulator --port 0 --pace 50 --first-token 0.3 --log calls.jsonl
    python -m workers.simulator --script "quirks=no_system,alternate shape=bom" --slots 1 --window 8192

`script` parses the directive, `text` writes the answer, `wire` encodes both formats, `quirks` refuses, `shapes` departs
from the formats as real servers do, `replies` sends, `server` listens.
"""

from workers.simulator.text import text_for, tokens_for

__all__ = ["text_for", "tokens_for"]
