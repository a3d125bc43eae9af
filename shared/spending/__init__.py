"""Spending: what people use, in tokens and money, and what they may use.

    values     what an attempt has used, and the limits of an owner
    settling   the parts of the ending statement that record it
    limits     the limits of an owner, and what is left
    reports    sums by day, person, group and model

`shared/lifecycle/` reserves before the call and settles when the attempt ends. Prices belong to the workers
(`workers/providers/prices.py`). May import people, the tables and `shared.postgres`.
"""
