"""Naru on one machine: the embedded servers, the processes, and their supervisor.

    data          the data folder: its lock, its secrets, the addresses of its running Naru
    locate        how a command finds the Naru of this machine
    postgres, redis_server, privileges    the embedded servers
    processes, ports, environment, parts  the processes to start, and their variables
    supervisor, silence                   when a process is started again

May import `shared`; the commands that use it are in `deploy/cli/` and `deploy/backup/`.
"""
