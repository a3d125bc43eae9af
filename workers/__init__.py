"""The worker processes, which take requests and answer them. Imports only `shared`; web knows the task by its name."""
