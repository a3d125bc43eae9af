"""The ways of running Naru, a folder each. The product imports nothing from here."""
