"""The user's cache folder, and hashes of large files that are remembered there."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path


def cache_dir() -> Path:
    """Where data, converted models and hashes are kept: $TUNA_CACHE, or tuna/ in the user's cache folder."""
    base = os.environ.get("TUNA_CACHE")
    return Path(base) if base else Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "tuna"


def file_sha256(file: Path) -> str:
    """SHA-256 of a file's content; remembered in the cache as long as path, size and time of change stay the same."""
    real = file.resolve()
    stat = real.stat()
    key = f"{real}|{stat.st_size}|{stat.st_mtime_ns}|{stat.st_ino}"
    remembered = cache_dir() / "hashes" / hashlib.sha256(key.encode()).hexdigest()
    if remembered.is_file():
        return remembered.read_text(encoding="ascii")
    with real.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    if stat.st_size > 1 << 20:  # small files hash faster than they are looked up
        with suppress(OSError):  # a full or read-only cache only means hashing again next time
            remembered.parent.mkdir(parents=True, exist_ok=True)
            partial = remembered.with_name(f"{remembered.name}.{os.getpid()}")
            partial.write_text(digest, encoding="ascii")
            partial.replace(remembered)
    return digest
