"""One folder per way of running Naru. Nothing of the product imports from here."""
