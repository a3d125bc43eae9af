"""The parts that the adapters over a vendor's SDK share: the client, and the bytes, events and text of its reply."""
