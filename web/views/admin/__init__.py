"""The page for administrators, `?page=admin`: live state, use, people, models, and the banner.

`access.py` checks the session in the database before each draw, refresh and action. The queries and actions are in
`shared/operating/`, `shared/lifecycle/`, `shared/fleet.py` and `shared/people/`; `./naru admin` and `./naru people` do
the same from the terminal.
"""
