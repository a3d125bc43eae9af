"""The page and its routes. Each package below says what it may import; pyproject.toml has the order."""
