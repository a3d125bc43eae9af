"""What the faults do to a chat as tutorials build it on Celery, to stand beside ours in the table.

`app` is the whole of it; `shots` injects the faults 1, 4, 8, 10 and 12 as the catalogue does. Nothing of Naru is in it.
Its speed is measured by `tests/bench/textbook_chat.py`.
"""
