"""The text of the simulator's answers: a function of the last user message alone, so that tests can compute it.

It is Korean for a question with Hangul, else English, in Markdown with lists, tables, code and formulas. It states that
no model is connected.
"""

from __future__ import annotations

import re
from hashlib import sha256
from itertools import count

from workers.simulator.script import Script, read

_TOKEN = re.compile(r"\s*[가-힣]{1,2}|\s*[^\s가-힣]{1,5}|\s+")
_HANGUL = re.compile(r"[가-힣]")

_OPENING = {
    "en": """\
This is Naru's **demo simulator**. No AI model is connected, so this text is canned.

> {question}

""",
    "ko": """\
나루의 **데모 시뮬레이터**입니다. 연결된 AI 모델이 없어 준비된 글로 답합니다.

> {question}

""",
}
_CLOSING = {
    "en": "To get real answers, set `OPENAI_API_KEY` or `ANTHROPIC_API_KEY` and start Naru again.",
    "ko": "실제 답변을 받으려면 `OPENAI_API_KEY` 또는 `ANTHROPIC_API_KEY`를 설정하고 다시 시작하세요.",
}
#: The middle of an answer is a selection of these blocks. Lines of three dashes separate them here only.
_MIDDLE = {
    "en": """\
An answer takes this route:

1. The question is stored before it is queued.
2. A worker claims it and asks the provider.
3. The text streams back while it is written.
4. Text and usage are stored together.
---
| part | its job |
|---|---|
| Postgres | the truth |
| Celery on Redis | hints to the workers |
| Redis Streams | text to the page |
---
```python
def ferry(people: list[str]) -> str:
    # One boat, many crossings.
    return ", ".join(people) + " are across."
```
---
A formula for the page to typeset: $w = \\frac{n}{c} \\cdot t$, with *n* waiting, *c* at once and *t* for each.
---
- Reload this page: the text goes on.
- Press stop: what is written stays.
- Stop a worker: another one takes over.
---
A *naru* is the landing where a ferry puts people ashore. It is a quiet place: someone waits, something
comes across the water, and nothing is lost on the way.""",
    "ko": """\
답변은 이런 길을 지나옵니다.

1. 질문은 대기열에 들어가기 전에 저장됩니다.
2. 작업자가 질문을 맡아 모델에 묻습니다.
3. 글이 쓰이는 대로 화면에 나타납니다.
4. 글과 사용량이 함께 저장됩니다.
---
| 부분 | 하는 일 |
|---|---|
| Postgres | 사실의 기록 |
| Celery와 Redis | 작업자에게 보내는 알림 |
| Redis Streams | 눈에 보이는 글 |
---
```python
def ferry(people: list[str]) -> str:
    # 배는 한 척, 건너는 이는 여럿.
    return ", ".join(people) + " 건넜습니다."
```
---
수식도 그려 봅니다: $w = \\frac{n}{c} \\cdot t$. 기다리는 수 *n*, 동시에 하는 수 *c*, 하나에 드는 시간 *t*.
---
- 새로 고침해도 글은 이어집니다.
- 멈춤을 눌러도 쓰인 글은 남습니다.
- 작업자가 멈추면 다른 작업자가 맡습니다.
---
*나루*는 배가 사람을 내려 주는 곳입니다. 누군가 기다리고, 무언가 물을 건너오고, 도중에 잃는 것이 없습니다.""",
}
_FILLER = {
    "en": "\n\nParagraph {number}: the boat crosses once more, slowly, and the water is calm.",
    "ko": "\n\n{number}번째 문단: 배가 한 번 더 천천히 건너가고, 물은 잔잔합니다.",
}


def text_for(message: str) -> str:
    """Return the complete answer to a message without a fault. Not defined for `emit=…`."""
    return "".join(tokens_for(message))


def tokens_for(message: str) -> list[str]:
    """Return the tokens in which the answer to `message` is sent."""
    script, question = read(message)
    return tokens_of(script, question)


def tokens_of(script: Script, question: str) -> list[str]:
    """Return the tokens of the answer to `question` under `script`."""
    language = "ko" if _HANGUL.search(question) else "en"
    if script.text is not None:
        text = script.text
    elif script.echo:
        text = question
    else:
        text = _demo_text(question, language)
    text *= script.repeat
    tokens = [text[at : at + script.size] for at in range(0, len(text), script.size)] if script.size else split(text)
    if script.tokens is None:
        return tokens
    filler = _FILLER[language]
    for number in count(1):
        if len(tokens) >= script.tokens:
            break
        tokens += split(filler.format(number=number))
    return tokens[: script.tokens]


def marked_tokens(call: int, count: int) -> list[str]:
    """Return the tokens of `emit=call`: each has its position and the number of its call."""
    return [f"나{number}@{call} " for number in range(count)]


def split(text: str) -> list[str]:
    """Split `text` into tokens, which are `text` again when joined."""
    return _TOKEN.findall(text)


def _demo_text(question: str, language: str) -> str:
    digest = sha256(question.encode("utf-8", "replace")).digest()
    middle = _MIDDLE[language].split("\n---\n")
    chosen = sorted(range(len(middle)), key=lambda index: digest[index])[: 2 + digest[-1] % 3]
    shown = " ".join(question.split())[:120] or "…"
    opening = _OPENING[language].format(question=shown)
    return opening + "".join(f"{middle[index]}\n\n" for index in chosen) + _CLOSING[language]
