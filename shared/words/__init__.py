"""The texts of the page and of `naru ask` in two languages: the catalogues (`en.json`, `ko.json`) and their reader."""

from shared.words.words import LOCALES, Words, best_locale

__all__ = ["LOCALES", "Words", "best_locale"]
