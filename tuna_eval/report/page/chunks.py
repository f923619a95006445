"""Data in pieces that a page decodes when it needs them: JSON, deflated, base64."""

from __future__ import annotations

import base64
import json
import zlib
from typing import Any


class Chunks:
    """The pieces of one page, by name; equal data makes equal text."""

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}

    def add(self, value: Any) -> str:
        """Adds a piece and returns the name under which the page finds it.

        Args:
            value: anything that JSON can hold; half a surrogate pair too.
        """
        # The page reads it with DecompressionStream("deflate"), which is zlib's format.
        packed = zlib.compress(json.dumps(value, separators=(",", ":")).encode("ascii"), 6)
        name = f"c{len(self._texts)}"
        self._texts[name] = base64.b64encode(packed).decode("ascii")
        return name

    def as_html(self) -> str:
        """One inert element a piece; base64 holds nothing that could end it."""
        return "\n".join(
            f'<script type="text/plain" data-chunk="{name}">{text}</script>' for name, text in self._texts.items()
        )
