"""Naru on one machine: the embedded servers, the processes, and who keeps them running.

    data          the data folder: who holds it, its secrets, where its running Naru is reached
    reach         how a command finds the Naru of this machine
    postgres, redis_server, privileges    the embedded servers
    processes, ports, environment, parts  what is started, with which variables
    supervisor, silence                   what is started again, and when

May import `shared`; the commands that use it are in `deploy/cli/` and `deploy/backup/`.
"""
