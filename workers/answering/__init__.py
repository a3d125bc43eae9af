"""The life of one answer.

    answer    runs it, top-down
    result    the result of an attempt
    spending  its use of tokens and money
    windows   the model's window, and a shorter prompt after a refusal
    reuse     the owner's earlier answer to the same prompt
    breaker   counts failures of its lane
    prompts, retries
              make its decisions, and are pure

May import `workers.process`, `workers.providers` and `shared`, but not Celery.
"""
