"""Self-contained pages: one HTML file that runs its own script, shows its own data, and fetches nothing."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping


def inline_page(template: str, style: str, script: str, parts: Mapping[str, str]) -> str:
    """A page with its style, script and data inside; its policy lets nothing else run and nothing be fetched.

    Args:
        template: HTML with {{policy}}, {{style}}, {{script}} and the names of the parts.
        style, script: the only ones that the page's policy allows, by their hashes.
        parts: what else the template names, as HTML.

    Raises:
        KeyError: the template names something that is not given.
    """
    policy = (
        f"default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; "
        f"script-src 'sha256-{_sha256(script)}'; style-src 'sha256-{_sha256(style)}'"
    )
    found = {"policy": policy, "style": style, "script": script, **parts}
    return re.sub(r"\{\{(\w+)\}\}", lambda match: found[match[1]], template)


def inert_json(data: object) -> str:
    """JSON that can stand inside a script element.

    ASCII without "<" can neither end its element nor begin another, and carries any text, lone surrogates too.
    """
    text = json.dumps(data, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _sha256(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
