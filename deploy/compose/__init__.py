"""Naru in containers: what `docker-compose.yml` needs beside itself. The commands run on the standard library alone."""
