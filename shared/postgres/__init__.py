"""Postgres: engines and transactions, statements that are planned once, and NOTIFY.

    database  engines, transactions and what an outage is
    prepared  statements that Postgres plans once per connection
    notify    the channels of LISTEN and NOTIFY

The only package that knows the driver's tricks. May import errors and settings; knows no table.
"""
