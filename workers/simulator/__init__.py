"""The demo simulator: a small HTTP server that speaks both vendors' wire formats and answers canned text.

It stands in, openly, where no model is connected, and it is what every test's provider is. The same question
gets the same answer, so a test can know it (`text_for`). Inside its last message a request can ask for a
length, a pace and for faults; `script` documents how. It needs no Postgres and no Redis, and nothing of Naru
imports it but tests.

    python -m workers.simulator --port 0 --pace 50 --first-token 0.3 --log calls.jsonl

`script` reads the directive, `text` writes the answer, `wire` knows the two formats, `replies` sends,
`server` listens.
"""

from workers.simulator.text import text_for, tokens_for

__all__ = ["text_for", "tokens_for"]
