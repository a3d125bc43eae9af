"""People: the owners of conversations, their accounts and their sessions.

    owner         who owns conversations: a person, a browser or the terminal
    accounts      people with an account, and their roles
    identities    those whom a provider of OpenID Connect signs in
    sessions      the browsers in which they are signed in
    links         invitations and links to a new password
    groups        people who share limits
    factors       second factors as rows
    codes         the codes of an app, and recovery codes
    sealing       encrypts the secrets of second factors
    allowances    how often a password may be guessed
    guest_links   a guest's link to their chats
    taking_over   a guest's conversations become a person's
    refusals      why an account cannot be used
    tokens        what cookies and links hold

`web/asgi/identity.py` finds the owner of a request. Passwords are checked in `web/people/`. May import the tables and
`shared.postgres`. Only `Owner` is imported here: workers need nothing else.
"""

from shared.people.owner import Owner

__all__ = ["Owner"]
