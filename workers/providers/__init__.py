"""The providers, which write the answers.

    base        the protocol: a prompt goes in, text and one `Done` come out
    openai/     the adapter for Chat Completions
    anthropic/  the adapter for Messages
    sdk/        the parts that both adapters share
    mapping     turns a vendor's errors into ours
    timeouts    limits how long a stream may keep us waiting
    registry    decides which models this worker offers
    catalogue   the sizes of known models
    prices      the cost of an answer

Only this package imports the vendors' SDKs, and only when they are first needed. It builds no prompts and decides on no
retries.
"""
