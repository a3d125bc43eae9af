"""Tells which of the models that a server lists can chat.

Servers describe their models in different fields. Where there is none that tells, the name has to: most servers list
models for embeddings, speech, images and moderation beside those that chat. A wrong guess hides a model or shows one
that fails; `models` in providers.toml overrules it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

#: Values of `type`, `mode` or `task` that say that a model does not chat.
_OTHER_KINDS = frozenset(
    {
        *("embedding", "embeddings", "embed", "image", "image_generation", "image-generation", "text-to-image"),
        *("rerank", "reranker", "moderation", "moderations", "audio", "tts", "stt", "speech", "transcribe"),
        *("transcription", "audio_speech", "audio_transcription", "video", "video_generation", "score", "classify"),
        *("feature-extraction", "automatic-speech-recognition", "text-to-speech", "ocr", "search"),
    }
)
_CHAT_KINDS = frozenset({"chat", "llm", "vlm", "text-generation", "conversational"})

#: Parts of the name, between its separators, of models that do not chat.
_OTHER_WORDS = frozenset(
    {
        *("embed", "embedding", "embeddings", "bge", "gte", "e5", "minilm", "colbert", "splade", "nomic", "gecko"),
        *("whisper", "parakeet", "canary", "transcribe", "transcription", "asr", "stt", "tts", "speech", "realtime"),
        *("kokoro", "orpheus", "bark", "xtts", "playai", "lyria", "musicgen", "moderation", "shieldgemma"),
        *("rerank", "reranker", "image", "images", "imagen", "imagine", "dalle", "sdxl", "flux", "sora", "veo", "clip"),
        *("siglip", "diffusion", "kontext", "recraft", "ocr"),
    }
)
_OTHER_NAMES = re.compile(
    r"dall-e|text-embedding|stable-diffusion|llama-guard|prompt-guard|davinci-00|babbage-00|turbo-instruct"
    r"|deep-research|computer-use|embedding|^embed|gpt-audio|gpt-4o(-mini)?-audio|voyage-|seedream|seedance|qwen-mt-image"
)
#: Words of models that chat although a part of their name speaks against it.
_CHAT_NAMES = re.compile(r"nomic-(?!embed)|e5-omni")
_SEPARATORS = re.compile(r"[-_./:@ ]+")


def can_chat(name: str, entry: Mapping[str, Any]) -> bool:
    """Return whether a listed model can chat. `entry` is what the server says about it."""
    for says in (_by_kind, _by_capabilities, _by_modalities, _by_methods):
        if (answer := says(entry)) is not None:
            return answer
    return _by_name(name)


def _by_kind(entry: Mapping[str, Any]) -> bool | None:
    """`type` of LM Studio and Together, `mode` of LiteLLM, `task` of others."""
    for field in ("type", "mode", "task", "model_type"):
        value = entry.get(field)
        if isinstance(value, str) and value.lower() in _OTHER_KINDS:
            return False
        if isinstance(value, str) and value.lower() in _CHAT_KINDS:
            return True
    return None


def _by_capabilities(entry: Mapping[str, Any]) -> bool | None:
    """`capabilities` of Mistral (a table) and of Ollama and others (a list)."""
    found = entry.get("capabilities")
    if isinstance(found, Mapping) and isinstance(found.get("completion_chat"), bool):
        return bool(found["completion_chat"])
    named = _texts(found)
    if {"completion", "chat", "chat_completion"} & named:
        return True
    return False if named & _OTHER_KINDS else None


def _by_modalities(entry: Mapping[str, Any]) -> bool | None:
    """`architecture` of OpenRouter. A model that also makes images is not for a chat of text."""
    architecture = entry.get("architecture")
    found = architecture if isinstance(architecture, Mapping) else entry
    outputs, inputs = _texts(found.get("output_modalities")), _texts(found.get("input_modalities"))
    if not outputs:
        return None
    return "text" in outputs and "image" not in outputs and (not inputs or "text" in inputs)


def _by_methods(entry: Mapping[str, Any]) -> bool | None:
    """`endpoints` of Cohere, `supportedGenerationMethods` of Google."""
    for field, wanted in (("endpoints", "chat"), ("supportedGenerationMethods", "generatecontent")):
        if (named := _texts(entry.get(field))) and wanted not in named:
            return False
    return None


def _by_name(name: str) -> bool:
    bare = name.rsplit("/", 1)[-1].lower()
    if _CHAT_NAMES.search(bare):
        return True
    return not (_OTHER_NAMES.search(bare) or _OTHER_WORDS & set(_SEPARATORS.split(bare)))


def _texts(value: Any) -> set[str]:
    is_list = isinstance(value, Sequence) and not isinstance(value, str)
    return {each.lower() for each in value if isinstance(each, str)} if is_list else set()
