"""The parts of one worker process that hold its lease, find its work and end it in order.

    context      the data that all parts share
    loop         the event loop, in a separate thread
    running      slots, running answers and how they are interrupted
    membership   the process's row in the fleet, and the models in it
    lease        the thread that renews the worker's lease and receives stops
    checkpoints  the running texts that the lease thread writes to Postgres
    pickup       requests taken from Postgres while Redis is away
    drain        the end of the process: finish answers, hand over the rest, leave
    health       /healthz, /readyz and /metrics

May import `workers.providers` and `shared`, but not `workers.answering`.
"""
