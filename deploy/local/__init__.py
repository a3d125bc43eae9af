"""Naru on one machine: the command line, the embedded servers and what keeps the processes running."""
