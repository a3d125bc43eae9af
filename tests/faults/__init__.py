"""The fault suite: real processes, real faults, and a checker that holds what people saw against the rows and calls.

    ./naru test faults --only 1,8 --times 20 --json results.jsonl

`catalogue/` has a small function per fault, by kind; `rig` is the processes and what can be done to them, `proxy` the
lines between them, `crowd` the people, `screen` what one of them sees, `checker` the judge. `mixed` lets faults come at
random under a load, `soak` watches memory, `textbook/` is what it is all compared with. What the faults are and what
must hold is in `docs/reliability.md`.
"""
