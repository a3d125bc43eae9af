"""What follows running answers for the browsers of one web process.

    reader    one XREAD over the live streams of all watched requests, in uvicorn's own loop
    text      the fold of a stream's events into the text of one attempt; pure
    sweep     one statement a second for all watched conversations: where each request is, and missing text
    phases    from that row and the text to the one phase a person is shown; pure
    viewer    what one browser has been sent, and what it lacks
    watcher   the one that holds them together, and that routes and script threads talk to
    listener  LISTEN: "look now" from other processes
    besttext  the partial text of a worker that does not speak, for a stop that it does not answer

The routes that speak HTTP are in `web/api/`; who writes the streams is in `shared/live/`.
"""
