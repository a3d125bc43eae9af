"""The providers, which write the answers.

    base        the protocol: a prompt goes in, text and one `Done` come out
    openai/     the adapter for Chat Completions
    anthropic/  the adapter for Messages
    sdk/        the parts that both adapters share
    mapping     turns a vendor's errors into those of shared/errors.py
    timeouts    limits the wait for the first token, between two tokens, and in total
    instances   the providers that the environment and providers.toml configure; `file` reads the file, with `lines`
    listing     asks a server for its models; `chat_models` tells which of them can chat
    registry    decides which models this worker offers
    catalogue   the sizes of known models
    prices      the cost of an answer

Only this package imports the vendors' SDKs, each when it is first used. Prompts and retries are decided in
`workers/answering/`.
"""
