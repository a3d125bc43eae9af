"""Texts with made-up secrets, and harmless texts that look like secrets, for both redaction filters."""

from __future__ import annotations

KEY = "sk-ant-planted-0123456789abcdef"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmNHl0w"
SECRETS = [
    (f"Incorrect API key provided: {KEY}.", KEY),
    ("key sk-proj-0123456789abcdef refused", "sk-proj-0123456789abcdef"),
    (f"sent {{'Authorization': 'Bearer {KEY}'}}", KEY),
    ("api_key=abcdef123456", "abcdef123456"),
    ('{"x-api-key": "abcdef123456"}', "abcdef123456"),
    ("X-Api-Key: abcdef123456", "abcdef123456"),
    (r"body {\"password\": \"correct-horse\"}", "correct-horse"),
    ("password: correct-horse", "correct-horse"),
    ("Set-Cookie: naru_browser=abc.def.ghi", "abc.def.ghi"),
    ("connect to postgresql://naru:correct-horse@db:5432/naru", "correct-horse"),
    ("redis://:correct-horse@redis:6379/0 is away", "correct-horse"),
    (f"token {JWT}", JWT),
    ("refresh_token=correct-horse", "correct-horse"),
    ("Basic bmFydTpwYXNzd29yZA==", "bmFydTpwYXNzd29yZA"),
    ("Authorization: Basic bmFydTpwYXNzd29yZA==", "bmFydTpwYXNzd29yZA"),
    ("key AKIAIOSFODNN7EXAMPLE in us-east-1", "AKIAIOSFODNN7EXAMPLE"),
    ("asked by alice.kim+x@example.co.kr today", "alice.kim+x@example.co.kr"),
    # After a newline, which JSON writes as \\n.
    (f"it said\n{KEY}", KEY),
    (f"it said\n{JWT}\n", JWT),
    ("it said\nAKIAIOSFODNN7EXAMPLE", "AKIAIOSFODNN7EXAMPLE"),
    ("it said\n\tpassword=correct-horse\n", "correct-horse"),
    (f"it said\n\tBearer {KEY}", KEY),
    ("it said\nalice@example.com\n", "alice@example.com"),
]
HARMLESS = [
    "worker-17574@vm ready.",
    "risk-assessment of task-0123456789 ended",
    "an API answered; the password authentication failed for user naru",
    "Keyboard interrupt at 127.0.0.1:8501, http://127.0.0.1:8501/?c=1 @ noon",
    "no secret here; cookies are good",
    "basic questions about tokens",
    "질문을 저장했습니다",
]
