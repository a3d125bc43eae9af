"""The providers, which write the answers.

    base        the protocol: a prompt goes in, text and one `Done` come out
    openai/     the adapter for Chat Completions
    anthropic/  the adapter for Messages
    ollama/     the adapter for Ollama's own API
    sdk/        the parts that the adapters over a vendor's SDK share
    mapping     turns a vendor's errors into those of shared/errors.py
    adapting    repeats a refused call in the form that the server accepts; `lessons` reads the refusal
    quirks      changes a request by what is known about its model, which `knowledge` shares with the fleet
    windows     reads a model's window from a refusal; `tokens` estimates the tokens of a text
    probe       asks a model one question, and says what its server shows
    timeouts    limits the wait for the first token, between two tokens, and in total
    instances   the providers that the environment and providers.toml configure; `file` reads the file, with `lines`
    listing     asks a server for its models; `chat_models` tells which of them can chat
    registry    decides which models this worker offers
    catalogue   the sizes of known models
    prices      the cost of an answer

Only this package imports the vendors' SDKs, each when it is first used. Prompts and retries are decided in
`workers/answering/`.
"""
