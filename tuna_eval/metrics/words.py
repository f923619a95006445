"""Words of any script for ROUGE, whose own tokenizer sees nothing but a-z and 0-9.

A text is rewritten so that rouge-score's tokenizer finds all of its words: each word with a character beyond ASCII
becomes a number that stands for it, which no stemmer changes. Texts in ASCII stay as they are and so do their scores.
"""

from __future__ import annotations

import hashlib
import unicodedata
from functools import lru_cache

# Scripts written without spaces between words: each character is a word of its own.
_UNSPACED = ("CJK", "HIRAGANA", "KATAKANA", "BOPOMOFO", "THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN", "YI ")
_WORDS_REMEMBERED = 1 << 16


def visible_words(text: str) -> str:
    """The text with its words beyond ASCII written as numbers, for rouge-score's tokenizer.

    Compatible forms are equal (full-width letters, ligatures), and so are upper and lower case. A word is a run of
    letters, marks and digits; ideographs, characters of scripts without spaces, emoji and other symbols are words each.
    """
    if text.isascii():
        return text
    return " ".join(word if word.isascii() else _number(word) for word in words_of(text))


def words_of(text: str) -> list[str]:
    """The words of a text of any script, in the forms in which `visible_words` takes them for equal."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold()).translate(_SPACED).split()


class _Spaced(dict[int, str]):
    """What stands for a character, so that words are what white space separates; looked up once for each."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        self[code] = found = _spaced(character)
        return found


def _spaced(character: str) -> str:
    kind = unicodedata.category(character)
    name = unicodedata.name(character, "")
    if kind == "Cf" or name.startswith("VARIATION SELECTOR"):
        return ""  # joiners and the like, which are not seen
    if kind == "So" or name.startswith(_UNSPACED):
        return f" {character} "
    if kind[0] in "LMN":
        return character
    return f" {character} " if kind[0] == "S" and not character.isascii() else " "


_SPACED = _Spaced()


@lru_cache(maxsize=_WORDS_REMEMBERED)
def _number(word: str) -> str:
    """Twenty digits, the first of them 0: no number that somebody writes, and two words share one in 10^19 cases."""
    digest = hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return f"0{int.from_bytes(digest) % 10**19:019d}"
