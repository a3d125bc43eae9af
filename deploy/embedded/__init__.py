"""Naru on one machine: the embedded servers, the processes, and their supervisor.

    data          the data folder: its lock, its secrets, the addresses of its running Naru
    locate        finds the running Naru for a command
    postgres, redis_server, privileges    the embedded servers
    processes, ports, environment, parts  the processes to start, and their variables
    supervisor, silence                   start, watch and restart the processes

May import `shared`; the commands that use it are in `deploy/cli/` and `deploy/backup/`.
"""
