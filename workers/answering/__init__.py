"""The life of one answer: `answer` tells it top-down; `prompts`, `retries` and `prices` decide and are pure.

May import `workers.process`, `workers.providers` and `shared`; nothing of Celery.
"""
