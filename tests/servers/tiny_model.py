"""Writes a tiny language model in GGUF: random weights from a seed, and a tokenizer of bytes and letters.

What it says is noise, but a real inference server loads it, counts its tokens and keeps its window. The file has half a
megabyte, and the same seed gives the same bytes. The chat template is strict, as those of Mistral and Gemma are: no
system role, and questions and answers alternate.
"""

from __future__ import annotations

import random
import struct
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WINDOW = 2048
SEED = 20_261_129
#: Sizes of the network. The heads divide the width.
WIDTH, HEADS, LAYERS, HIDDEN = 64, 4, 2, 128
ALIGNMENT = 32
EPSILON = 1e-5
#: Jinja, in the way of Mistral's templates.
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}"
    "{% elif message['role'] == 'assistant' %}{{ message['content'] + eos_token }}"
    "{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}{% endfor %}"
)

#: GGUF's numbers for the types of values and tokens.
_UINT32, _INT32, _FLOAT32, _STRING, _ARRAY = 4, 5, 6, 8, 9
_NORMAL, _UNKNOWN, _CONTROL, _BYTE = 1, 2, 3, 6
_FORMATS = {_UINT32: "<I", _INT32: "<i", _FLOAT32: "<f"}


@dataclass(frozen=True, slots=True)
class _Typed:
    """A value of the file's head."""

    kind: int
    value: Any
    #: The type of the items, if the value is a list.
    of: int = 0

    def packed(self) -> bytes:
        """Return the value as GGUF has it, with its type in front."""
        head = struct.pack("<I", self.kind)
        if self.kind != _ARRAY:
            return head + _plain(self.kind, self.value)
        items = b"".join(_plain(self.of, each) for each in self.value)
        return head + struct.pack("<IQ", self.of, len(self.value)) + items


def write(path: Path, *, seed: int = SEED) -> None:
    """Write the model to `path`."""
    tensors = _tensors(random.Random(seed))
    facts = _facts()
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(facts))
    head += b"".join(_text(name) + each.packed() for name, each in facts.items())
    offset = 0
    for name, (shape, values) in tensors.items():
        # The file lists the dimensions from the innermost one; type 0 is float32.
        dimensions = struct.pack(f"<{len(shape)}Q", *reversed(shape))
        head += _text(name) + struct.pack("<I", len(shape)) + dimensions + struct.pack("<IQ", 0, offset)
        offset += _padded(4 * len(values))
    body = b"".join(_aligned(values.tobytes()) for _, values in tensors.values())
    path.write_bytes(_aligned(head) + body)


def vocabulary() -> tuple[list[str], list[int], list[float]]:
    """Return the tokens, their types and their scores: 3 marks, every byte, and the letters that prompts consist of."""
    letters = "▁abcdefghijklmnopqrstuvwxyz"
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *letters]
    types = [_UNKNOWN, _CONTROL, _CONTROL, *([_BYTE] * 256), *([_NORMAL] * len(letters))]
    scores = [*([0.0] * 3), *([-1000.0] * 256), *(-10.0 - place for place in range(len(letters)))]
    return tokens, types, scores


def _facts() -> dict[str, _Typed]:
    tokens, types, scores = vocabulary()
    sizes = {
        "context_length": WINDOW,
        "embedding_length": WIDTH,
        "block_count": LAYERS,
        "feed_forward_length": HIDDEN,
        "attention.head_count": HEADS,
        "attention.head_count_kv": HEADS,
        "rope.dimension_count": WIDTH // HEADS,
        "vocab_size": len(tokens),
    }
    return {
        "general.architecture": _Typed(_STRING, "llama"),
        "general.name": _Typed(_STRING, "tiny"),
        "general.alignment": _Typed(_UINT32, ALIGNMENT),
        **{f"llama.{name}": _Typed(_UINT32, size) for name, size in sizes.items()},
        "llama.attention.layer_norm_rms_epsilon": _Typed(_FLOAT32, EPSILON),
        "tokenizer.ggml.model": _Typed(_STRING, "llama"),
        "tokenizer.ggml.tokens": _Typed(_ARRAY, tokens, _STRING),
        "tokenizer.ggml.scores": _Typed(_ARRAY, scores, _FLOAT32),
        "tokenizer.ggml.token_type": _Typed(_ARRAY, types, _INT32),
        "tokenizer.ggml.unknown_token_id": _Typed(_UINT32, 0),
        "tokenizer.ggml.bos_token_id": _Typed(_UINT32, 1),
        "tokenizer.ggml.eos_token_id": _Typed(_UINT32, 2),
        "tokenizer.chat_template": _Typed(_STRING, TEMPLATE),
    }


def _tensors(chance: random.Random) -> dict[str, tuple[Sequence[int], array[float]]]:
    """Return the weights by name, with their shapes, the outermost dimension first."""

    def noise(*shape: int, scale: float = 0.1) -> tuple[Sequence[int], array[float]]:
        return shape, array("f", (chance.gauss(0, scale) for _ in range(shape[0] * shape[1])))

    def ones() -> tuple[Sequence[int], array[float]]:
        return (WIDTH,), array("f", [1.0] * WIDTH)

    words = len(vocabulary()[0])
    found = {
        "token_embd.weight": noise(words, WIDTH, scale=1.0),
        "output_norm.weight": ones(),
        "output.weight": noise(words, WIDTH),
    }
    for layer in range(LAYERS):
        block = f"blk.{layer}"
        found |= {
            f"{block}.{name}.weight": noise(WIDTH, WIDTH) for name in ("attn_q", "attn_k", "attn_v", "attn_output")
        }
        found |= {f"{block}.{name}.weight": noise(HIDDEN, WIDTH) for name in ("ffn_gate", "ffn_up")}
        found[f"{block}.ffn_down.weight"] = noise(WIDTH, HIDDEN)
        found |= {f"{block}.{name}.weight": ones() for name in ("attn_norm", "ffn_norm")}
    return found


def _plain(kind: int, value: Any) -> bytes:
    return _text(value) if kind == _STRING else struct.pack(_FORMATS[kind], value)


def _text(value: str) -> bytes:
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def _padded(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def _aligned(data: bytes) -> bytes:
    return data.ljust(_padded(len(data)), b"\0")
