"""The command line: `main` reads it, one module a command, `bootstrap` makes the environment that all of it runs in.

The only package that sees all others of `deploy`. The embedded servers are in `deploy/embedded/`.
"""
