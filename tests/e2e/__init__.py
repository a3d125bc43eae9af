"""End-to-end tests: a browser, web, workers, Postgres, Redis and the simulator, and the failures between them."""
