"""One address to one file: cut transfers are resumed, retries are bounded, and what arrived is checked."""

from __future__ import annotations

import hashlib
import http.client
import json
import re
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from tuna_eval.errors import DataError

ATTEMPTS = 5
_CHUNK = 1 << 18
_TIMEOUT_SECONDS = 60.0
_LONGEST_WAIT_SECONDS = 30.0
_WORTH_RETRYING = frozenset({408, 429, 500, 502, 503, 504})

ByteCount = Callable[[int, int | None], None]  # bytes of this file so far, and in all if the server tells


class _PassingError(Exception):
    """A fault that another attempt may get past."""

    def __init__(self, what: str, wait: float = 0.0) -> None:
        super().__init__(what)
        self.wait = wait


def sha256_of(file: Path) -> str:
    """SHA-256 of a file's content as it is now, never remembered: a verification must read the bytes."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def download(
    url: str,
    part: Path,
    *,
    sha256: str = "",
    on_bytes: ByteCount | None = None,
    stop: threading.Event | None = None,
    pause: float = 0.5,
) -> str:
    """Brings the whole content of an address into a file, going on from what the file already holds.

    Args:
        url: an HTTP or HTTPS address.
        part: the file that grows; kept after a fault, so that the next call resumes it.
        sha256: what the content must hash to; "" if that is not known.
        on_bytes: told about every chunk.
        stop: ends the transfer early when set by another thread.
        pause: seconds before the second attempt, doubled for each later one.

    Returns:
        The SHA-256 of the content.

    Raises:
        DataError: the server refuses, sends a web page, or something other than the hash promises, or the
            transfer broke off `ATTEMPTS` times.
    """
    stop = stop or threading.Event()
    wait, fault = 0.0, ""
    for attempt in range(ATTEMPTS):
        stop.wait(wait)
        if stop.is_set():
            raise DataError("stopped before it was complete", place=url)
        try:
            resumed = _transfer(url, part, on_bytes, stop)
        except _PassingError as passing:
            fault, wait = str(passing), max(pause * 2**attempt, passing.wait)
            continue
        digest = sha256_of(part)
        if not sha256 or digest == sha256:
            return digest
        part.unlink()
        fault, wait = f"its SHA-256 is {digest}, expected {sha256}", 0.0
        if not resumed:  # a spoiled partial file explains a wrong hash once; a whole transfer is the server's word
            raise DataError(fault, place=url, cure="the file changed upstream, or something on the way altered it")
    raise DataError(
        f"{fault} ({ATTEMPTS} attempts)",
        place=url,
        cure="check the connection and run the same command again to resume",
    )


def refuse_broken_json(part: Path, url: str) -> None:
    """Keeps what is no JSON at all, such as an error page sent as plain text, from being locked as the truth.

    Args:
        part: a whole file; it is looked into if its name holds ".json" or ".jsonl".
        url: where it came from, for the message.

    Raises:
        DataError: and the file is gone, for it is of no use.
    """
    if ".json" not in part.name:
        return
    try:
        text = part.read_text(encoding="utf-8")
        for document in text.split("\n") if ".jsonl" in part.name else [text]:
            if document.strip() or document is text:
                json.loads(document)
    except ValueError as fault:
        part.unlink()
        problem = f"what the server sent is not JSON ({fault})"
        raise DataError(problem, place=url, cure="check the connection and fetch again") from fault


def _transfer(url: str, part: Path, on_bytes: ByteCount | None, stop: threading.Event) -> bool:
    """Appends what is missing; True if the file held a part of it before."""
    have = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": "tuna-eval", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=_TIMEOUT_SECONDS) as answer:
            if "html" in answer.headers.get("Content-Type", ""):
                raise DataError(
                    "the server sent a web page instead of the file",
                    place=url,
                    cure="a proxy or a login page may be in the way; --data-dir DIR uses a copy fetched elsewhere",
                )
            start, total = _extent(answer, have)
            if start != have and start:
                part.unlink()
                raise _PassingError(f"the server resumed at byte {start} instead of {have}")
            _append(answer, part, start, total, on_bytes, stop)
            return bool(start)
    except urllib.error.HTTPError as refusal:
        with refusal:
            return _after_refusal(url, refusal, part, have)
    except urllib.error.URLError as fault:
        raise _PassingError(f"the server cannot be reached: {fault.reason}") from fault
    except (TimeoutError, ConnectionError, ssl.SSLError, http.client.HTTPException) as fault:
        raise _PassingError(f"the connection broke: {fault or type(fault).__name__}") from fault


def _extent(answer: http.client.HTTPResponse, have: int) -> tuple[int, int | None]:
    """Byte at which an answer's body starts in the file, and the file's length if the server tells."""
    if answer.status == 206:
        match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", answer.headers.get("Content-Range", ""))
        if match is None:
            raise _PassingError("the server sent a part of the file without saying which")
        return int(match[1]), None if match[2] == "*" else int(match[2])
    length = answer.headers.get("Content-Length", "")
    return 0, int(length) if length.isdigit() else None


def _append(
    answer: http.client.HTTPResponse,
    part: Path,
    size: int,
    total: int | None,
    on_bytes: ByteCount | None,
    stop: threading.Event,
) -> None:
    with part.open("ab" if size else "wb") as stream:
        while not stop.is_set() and (chunk := answer.read(_CHUNK)):
            stream.write(chunk)
            size += len(chunk)
            if on_bytes:
                on_bytes(size, total)
    if total is not None and size != total:
        if size > total:
            part.unlink()
        raise _PassingError(f"the transfer was cut at {size} of {total} bytes")


def _after_refusal(url: str, refusal: urllib.error.HTTPError, part: Path, have: int) -> bool:
    """What an error status means for the transfer: True if the partial file turns out to be whole."""
    if refusal.code == 416:
        if refusal.headers.get("Content-Range", "") == f"bytes */{have}":
            return True
        part.unlink()
        raise _PassingError("the server does not know the part that is missing")
    problem = f"the server answered {refusal.code} {refusal.reason}"
    if refusal.code in _WORTH_RETRYING:
        seconds = refusal.headers.get("Retry-After", "")
        raise _PassingError(problem, min(float(seconds), _LONGEST_WAIT_SECONDS) if seconds.isdigit() else 0.0)
    raise DataError(problem, place=url, cure="--data-dir DIR uses a copy that you have")
