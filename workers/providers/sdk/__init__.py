"""The parts that the adapters over a vendor's SDK share: the client, the reply's bytes, its events and their text."""
