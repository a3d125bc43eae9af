"""How an answer is followed, by the page and by `naru ask` alike.

    text       the fold of a stream's events into the text of one attempt; pure
    sweep      one statement a second for all followed conversations: where each request is, and missing text
    phases     from that row and the text to the one phase that a person is shown; pure
    best_text  the partial text of a worker that does not speak, for a stop that it does not answer

May import the tables, `shared.postgres`, the events of `shared.live` and the Redis client; knows neither browsers nor
terminals.
"""
