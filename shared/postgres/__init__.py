"""Postgres: engines and transactions, prepared statements, and NOTIFY.

    database     engines, transactions, the probe, and the errors that mean an outage
    urls         the spellings of a database URL; needs no SQLAlchemy
    hosts        connects to the usable one among the hosts of an address
    connections  tricks with psycopg2's connections: bounded waits, a reset without a round trip, discards
    prepared     statements that Postgres plans once per connection, and batches of them
    pooler       a transaction pooler in front of Postgres: how to tell, and its time limits
    capacity     the warning of a Postgres that is short of connections
    notify       the channels of LISTEN and NOTIFY, and what a transaction has to tell
    notices      sends that after the commit, over a connection of its own

The product makes its engines here and nowhere else. May import errors and settings; knows no table.
"""
