"""Model providers: keys, addresses, the models on offer and their prices."""

from __future__ import annotations

from dataclasses import dataclass

from shared.settings.field import setting


@dataclass(frozen=True, kw_only=True)
class Providers:
    """Keys, addresses and models. Only workers read the keys."""

    openai_api_key: str = setting("", "API key of OpenAI or of a compatible server", secret=True, kind="key")
    openai_base_url: str = setting(
        "", "Address of an OpenAI-compatible server (vLLM, LM Studio, a gateway)", kind="http"
    )
    anthropic_api_key: str = setting("", "API key of Anthropic", secret=True, kind="key")
    anthropic_base_url: str = setting("", "Address of an Anthropic-compatible server", kind="http")
    ollama_url: str = setting("http://127.0.0.1:11434", "Address of Ollama; `off` disables it", kind="ollama")
    simulator_url: str = setting(
        "", "Address of the demo simulator; `up` sets it when no model is available", kind="http"
    )
    providers_file: str = setting(
        "", "File of further providers; `up` finds a `providers.toml` beside the data folder by itself"
    )
    models: str = setting("", "Models on offer, as provider/model, comma-separated; empty: the current defaults")
    lanes: str = setting(
        "", "Most answers at once over all workers, as provider=number or provider/model=number, comma-separated"
    )
    fallback: str = setting(
        "", "Models that answer while another one is away, as provider/model > provider/model, comma-separated"
    )
    prices: str = setting("", "Dollars per million tokens, as provider/model=input/output[/cached], comma-separated")
    system_prompt: str = setting("", "Instructions that every model gets before the conversation")
