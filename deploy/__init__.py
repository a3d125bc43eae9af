"""The ways to run Naru, one folder each. The product imports nothing from here."""
