"""The queries of the page for administrators (`?page=admin`) and of `./naru admin`, and the banner.

    lanes      each lane with its waiting and running requests, its limit and its breaker
    workers    the workers that live, and those that were lost or left lately
    requests   requests by state, and the timeline of one
    use        answers, failures, first texts and tokens of the last hour and day
    people     accounts, by a part of the e-mail address
    figures    times and tokens of answers, for the debug panel
    banner     the sentence that everybody sees

No question, answer or title leaves this package. Each query reads a bounded number of rows over an index. Requests are
changed by `shared/lifecycle/`, workers by `shared/fleet.py`.
"""
