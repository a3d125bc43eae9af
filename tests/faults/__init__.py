"""The fault suite: real processes, real faults, and a checker that compares what people saw with rows and calls.

    ./naru test faults --only 1,8 --times 20 --json results.jsonl

`catalogue/` has one function per fault. `rig` runs the processes and harms them, and `proxy` harms the connections
between them. `crowd` simulates the people, `screen` the live answer on each page, and `checker` judges the history.
`mixed` injects random faults under load, `soak` watches memory and descriptors, and `textbook/` is a plain Celery chat
for comparison. `docs/reliability.md` describes the faults and what must hold.
"""
