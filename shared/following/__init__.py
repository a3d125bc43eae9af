"""Following an answer, for the page and for `naru ask`.

    text       folds a stream's events into the text of one attempt; pure
    sweep      one statement per second for all followed conversations: the state of each request, and missing text
    place      the place in the queue, as parts of that statement
    phases     derives the phase that a person sees from that row and the text; pure
    best_text  the longest partial text of an attempt, for a stop that its worker does not answer

May import the tables, `shared.postgres`, the events of `shared.live` and the Redis client; knows neither browsers nor
terminals.
"""
