"""People: the owners of conversations; later accounts, sessions and roles.

How a request shows who sends it (a cookie, a header) is in `web/asgi/identity.py`. May import the tables and
`shared.postgres`.
"""

from shared.people.owner import Owner

__all__ = ["Owner"]
