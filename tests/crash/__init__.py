"""Real processes, really killed, frozen and cut off: what is promised of a request holds all the same."""
