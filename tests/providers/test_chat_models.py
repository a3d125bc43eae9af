"""Which of the models that real servers list can chat."""

from __future__ import annotations

from typing import Any

import pytest

from workers.providers.chat_models import can_chat

CHAT = """
gpt-6-luna gpt-4o gpt-4o-mini chatgpt-4o-latest gpt-3.5-turbo gpt-5.3-chat-latest o3 o4-mini gpt-oss:20b
claude-sonnet-5-5 claude-opus-4-8-20260101 anthropic.claude-3-5-sonnet-20241022-v2:0 llama3.2:3b
llama-3.3-70b-versatile meta-llama/Llama-3.3-70B-Instruct-Turbo meta-llama/llama-4-scout-17b-16e-instruct
qwen3:30b-a3b Qwen/Qwen2.5-VL-72B-Instruct qwen2.5-coder:7b deepseek-r1:8b deepseek/deepseek-chat-v3.1:free
mistral-large-latest magistral-medium-2506 open-mistral-nemo codestral-latest mixtral-8x7b-32768 pixtral-12b gemma3:4b
google/gemini-2.5-flash models/gemini-2.5-pro gemini-flash-latest phi4:latest command-r-plus c4ai-aya-vision-8b grok-4
x-ai/grok-code-fast-1 kimi-k2-instruct moonshotai/kimi-k2 glm-4.6 nvidia/nemotron-nano-9b-v2 hf.co/bartowski/x:Q4
exaone3.5:7.8b upstage/solar-pro-3 LGAI-EXAONE/EXAONE-4.0-32B K-intelligence/Midm-2.0-Base-Instruct influx-7b
tiny.gguf openrouter/auto amazon/nova-pro-v1 ibm/granite-4.0-h-micro gpt-4o-search-preview sonar-pro
hermes-3-llama-3.1-405b
"""
OTHER = """
text-embedding-3-small text-embedding-ada-002 nomic-embed-text:latest mxbai-embed-large bge-m3:latest
BAAI/bge-large-en-v1.5 intfloat/multilingual-e5-large thenlper/gte-large snowflake-arctic-embed all-minilm:l6-v2
mistral-embed codestral-embed whisper-1 whisper-large-v3-turbo openai/whisper-large-v3 gpt-4o-transcribe
gpt-4o-mini-tts tts-1-hd playai-tts canopylabs/orpheus-3b dall-e-3 gpt-image-1 gpt-image-1-mini chatgpt-image-latest
google/gemini-2.5-flash-image imagen-4.0-generate-001 sora-2-pro veo-3.0-fast black-forest-labs/FLUX.1-schnell
stable-diffusion-3.5 stabilityai/sdxl-turbo omni-moderation-latest mistral-moderation-latest llama-guard-4-12b
meta-llama/Llama-Guard-3-8B rerank-v3.5 BAAI/bge-reranker-v2-m3 jina-reranker-v2 gpt-realtime gpt-4o-realtime-preview
gpt-4o-audio-preview gpt-audio-mini davinci-002 babbage-002 gpt-3.5-turbo-instruct mistral-ocr-latest
embed-multilingual-v3.0 gemini-embedding-001 nomic-ai/nomic-embed-text-v1.5 kokoro qwen-image o3-deep-research
"""


@pytest.mark.parametrize("name", CHAT.split())
def test_chat_model_is_known_by_its_name(name: str) -> None:
    assert can_chat(name, {})


@pytest.mark.parametrize("name", OTHER.split())
def test_other_model_is_known_by_its_name(name: str) -> None:
    assert not can_chat(name, {})


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"type": "llm"}, True),
        ({"type": "vlm"}, True),
        ({"type": "embeddings"}, False),
        ({"type": "chat"}, True),
        ({"type": "moderation"}, False),
        ({"type": "model"}, True),
        ({"object": "model"}, True),
        ({"mode": "image_generation"}, False),
        ({"capabilities": {"completion_chat": False, "classification": True}}, False),
        ({"capabilities": {"completion_chat": True}}, True),
        ({"capabilities": ["completion", "tools", "vision"]}, True),
        ({"capabilities": ["embedding"]}, False),
        ({"architecture": {"input_modalities": ["text", "image"], "output_modalities": ["text"]}}, True),
        ({"architecture": {"input_modalities": ["text"], "output_modalities": ["image", "text"]}}, False),
        ({"architecture": {"input_modalities": ["audio"], "output_modalities": ["text"]}}, False),
        ({"supportedGenerationMethods": ["embedContent"]}, False),
        ({"supportedGenerationMethods": ["generateContent", "countTokens"]}, True),
        ({"endpoints": ["embed"]}, False),
        ({"endpoints": ["generate", "chat"]}, True),
        ({"capabilities": None, "type": 3, "architecture": [], "endpoints": "x"}, True),
    ],
)
def test_server_says_what_a_model_can_do(entry: dict[str, Any], expected: bool) -> None:
    assert can_chat("some-model", entry) is expected


def test_fields_weigh_more_than_the_name() -> None:
    assert can_chat("our-embed-chat", {"type": "llm"})
    assert not can_chat("our-chat", {"type": "embedding"})
