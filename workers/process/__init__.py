"""What keeps one worker process alive and honest, whatever it answers.

    context      the data that all of it shares
    loop         the one event loop, in a thread of its own
    running      slots, running answers and the ways to interrupt them
    lease        the thread that renews the worker's lease and hears of stops
    checkpoints  the running texts that the lease thread writes to Postgres
    pickup       requests taken from Postgres while Redis is away
    health       /healthz, /readyz and /metrics

May import `workers.providers` and `shared`; knows nothing of how an answer is made.
"""
