"""The providers: who writes the answers.

One protocol (`base`), one file per wire format (`openai`, `anthropic`), how their errors become ours
(`mapping`), how long we wait for them (`limits`), which models are offered (`registry`, `catalogue`), and
the demo simulator. The vendors' SDKs are imported here only, and when first needed. Prompts are made, and
retries decided, outside.
"""
