"""Sentences in English and in Chinese: written from what they tell of, and known again by their words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cached_property

_SLOT = re.compile(r"\{(\w+)\}")
_BAR = "|"

LANGUAGES = ("en", "zh")


class Sentences:
    """Sentences by key, each in both languages, with slots for what is told: ``"{n} of {all} are zero."``.

    English has the words for one ``n`` before a bar, and those for others after it.

    Example:
        >>> from initcfg.errors.sentences import Sentences
        >>> sentences = Sentences({"zeros": ("{n} zero|{n} zeros", "{n} 个零")})
        >>> sentences.written("zeros", {"n": "1"}), sentences.written("zeros", {"n": "3"})
        ('1 zero', '3 zeros')
        >>> sentences.translated("3 zeros", "zh"), sentences.translated("something else", "zh")
        ('3 个零', None)
    """

    def __init__(self, table: Mapping[str, tuple[str, str]]) -> None:
        self._table = dict(table)

    def __contains__(self, key: object) -> bool:
        return key in self._table

    def slots(self, key: str) -> frozenset[str]:
        """What a sentence tells of."""
        return frozenset(_SLOT.findall(self._table[key][0]))

    def written(self, key: str, given: Mapping[str, object], lang: str = "en") -> str:
        """A sentence with what it tells of.

        Raises:
            KeyError: There is no such sentence, or something that it tells of is not given.
        """
        return filled(self._table[key][LANGUAGES.index(lang)], given)

    def translated(self, text: str, lang: str) -> str | None:
        """The same in another language, of a text that is one of these sentences in English; else None."""
        read = self.read(text)
        return None if read is None else self.written(*read, lang)

    def read(self, text: str) -> tuple[str, dict[str, str]] | None:
        """Which of these sentences a text in English is, and what it tells of; None if it is none."""
        for key, pattern in self._patterns:
            found = pattern.fullmatch(text)
            if found is not None:
                return key, found.groupdict()
        return None

    @cached_property
    def _patterns(self) -> list[tuple[str, re.Pattern[str]]]:
        return [(key, _pattern(form)) for key, (text, _) in self._table.items() for form in text.split(_BAR)]


def filled(text: str, given: Mapping[str, object]) -> str:
    """A text with what is given in its slots; of two forms the one for this ``n``."""
    if _BAR in text:
        text = text.split(_BAR)[0 if given.get("n") in (1, "1") else 1]
    # What is put in may hold braces of its own, and is not looked at.
    return _SLOT.sub(lambda slot: str(given[slot[1]]), text)


def _pattern(text: str) -> re.Pattern[str]:
    parts, seen = _SLOT.split(text), set[str]()
    made = ""
    for place, part in enumerate(parts):
        if place % 2 == 0:
            made += re.escape(part)
        else:
            made += f"(?P={part})" if part in seen else f"(?P<{part}>.+?)"
            seen.add(part)
    return re.compile(made, re.DOTALL)
