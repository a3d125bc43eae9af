"""The whole at once: a browser, web, workers, Postgres, Redis, the simulator; and what goes wrong between them."""
