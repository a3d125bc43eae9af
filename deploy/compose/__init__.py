"""Naru in containers: the commands and files that `docker-compose.yml` needs.

The commands import the standard library only, because they run before any package is installed.
"""
