"""The workers: what takes a request off the queue and answers it. Imports `shared` only; web knows its task by name."""
