"""Follow running answers for the browsers of one web process.

    watcher   the entry point: routes and script threads talk to it, and it joins the other modules
    viewer    one conversation, and one browser's position in it
    frames    server-sent events as bytes
    readers   the reader of each shard, and which one has a stream
    reader    reads the live streams of all watched requests on one shard
    listener  LISTEN: other processes say "look now"

HTTP routes live in `web/api/`, the rules for text and phases in `shared/following/`, the writing side of a stream in
`shared/live/`. May import `web.limits` and `shared`.
"""
