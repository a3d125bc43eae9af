"""The command line: `main` parses it, each command has a module, `bootstrap` makes the environment.

Only this package may import all others of `deploy`.
"""
