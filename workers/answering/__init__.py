"""The life of one answer: `answer` runs it, `prompts` and `retries` make its decisions and are pure.

May import `workers.process`, `workers.providers` and `shared`, but not Celery.
"""
