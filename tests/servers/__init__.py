"""Naru's providers against servers that people really run, each installed for this alone.

    ./naru test servers --only llama.cpp,litellm

`pins.py` has the versions, `kinds.py` the servers, `steps.py` what each has to show. docs/providers.md has the results.
"""
