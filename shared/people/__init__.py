"""People: the owners of conversations; later accounts, sessions and roles.

`web/asgi/identity.py` finds the owner of a request. May import the tables and `shared.postgres`.
"""

from shared.people.owner import Owner

__all__ = ["Owner"]
