"""The command line: `main` parses it and calls the module of a command, `bootstrap` makes the environment.

Only this package may import all others of `deploy`.
"""
