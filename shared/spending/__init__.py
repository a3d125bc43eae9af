"""Spending: the use of tokens and money, and its limits.

    refusals   the errors of limits that are used up
    values     the use of an attempt, and the limits of an owner
    settling   the parts of the ending statement that record it
    limits     the limits of an owner, and their use
    currency   money as people read it
    reports    sums by day, person, group and model

`shared/lifecycle/` reserves before the call and settles when the attempt ends. Prices belong to the workers
(`workers/providers/prices.py`). May import people, the tables and `shared.postgres`.
"""
