"""Every word that a person reads on the page: the catalogues (`en.json`, `ko.json`) and their reader."""

from shared.words.words import LOCALES, Words, best_locale

__all__ = ["LOCALES", "Words", "best_locale"]
