"""What administrators see and change while Naru runs: the queries of the page `?page=admin` and of `./naru admin`.

    lanes      what waits and runs in each lane, and its breaker
    workers    the workers that live, and those that were lost or left lately
    requests   requests by state, and the timeline of one
    use        answers, failures, first texts and tokens of the last hour and day
    banner     the sentence that everybody sees

No question, answer or title leaves this package. Each query reads a bounded number of rows over an index. Requests are
changed by `shared/lifecycle/`, workers by `shared/fleet.py`.
"""
