"""Any text as LaTeX that shows it, whatever the engine and the fonts: every character is escaped or spelled out."""

from __future__ import annotations

import re
import unicodedata

# TeX's special characters, and those that fonts turn into something else: ligatures and curly quotes.
_ASCII = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"{\char34}",
    "'": r"\textquotesingle{}",
    "`": r"\textasciigrave{}",
    "[": "{[}",  # else the first cell of a line would be an argument of the line break before it
    "*": "{*}",
}
_MATH = {
    "α": "alpha",
    "β": "beta",
    "γ": "gamma",
    "δ": "delta",
    "ε": "varepsilon",
    "ζ": "zeta",
    "η": "eta",
    "θ": "theta",
    "ι": "iota",
    "κ": "kappa",
    "λ": "lambda",
    "μ": "mu",
    "ν": "nu",
    "ξ": "xi",
    "π": "pi",
    "ρ": "rho",
    "σ": "sigma",
    "τ": "tau",
    "υ": "upsilon",
    "φ": "varphi",
    "χ": "chi",
    "ψ": "psi",
    "ω": "omega",
    "Γ": "Gamma",
    "Δ": "Delta",
    "Θ": "Theta",
    "Λ": "Lambda",
    "Ξ": "Xi",
    "Π": "Pi",
    "Σ": "Sigma",
    "Υ": "Upsilon",
    "Φ": "Phi",
    "Ψ": "Psi",
    "Ω": "Omega",
    "∗": "ast",
    "≤": "leq",
    "≥": "geq",
    "≠": "neq",
    "≈": "approx",
    "→": "rightarrow",
    "←": "leftarrow",
    "↑": "uparrow",
    "↓": "downarrow",
    "∞": "infty",
    "∈": "in",
    "−": "mathord-",
}
# What LaTeX reads as UTF-8 by itself with T1 fonts: Latin letters with their marks, and the punctuation of books.
_LATIN = {
    *map(chr, range(0xA1, 0x180)),
    *"–—‘’‚“”„†‡•…‰‹›€™ȘșȚț",
} - set("\u00ad¯´¸ĦħĸĿŀŉŦŧſ")
# Two of these in a row would be one other character: a longer dash, a double quotation mark, a turned stop.
_LIGATURE = re.compile(r"([-–,‚‘’!?])(?=[-–,‚‘’])")


def latex_escape(text: str) -> str:
    r"""Text as LaTeX that shows it, with T1 fonts (\usepackage[T1]{fontenc}).

    What these fonts lack, such as Chinese, is told by its number: U+6F22. Line breaks and tabs become blanks.

    Args:
        text: anything.
    """
    escaped = "".join(map(_escaped, unicodedata.normalize("NFC", text)))
    return _LIGATURE.sub(r"{\1}", escaped)


def _escaped(character: str) -> str:
    if character in _ASCII:
        return _ASCII[character]
    if character in _MATH:
        return rf"\ensuremath{{\{_MATH[character]}}}"
    if " " <= character <= "~" or character in _LATIN:
        return character
    if character.isspace():
        return " "
    return rf"\texttt{{U+{ord(character):04X}}}"
