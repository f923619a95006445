"""What a line of a batch's output or error file means."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from tuna_eval.llm.api_errors import MalformedReplyError, server_message
from tuna_eval.llm.api_options import Mode
from tuna_eval.llm.api_replies import read_chat, read_completion
from tuna_eval.schema import Completion


def reply_body(result: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The reply in a result, as the live API would have sent it; None if the request failed."""
    response = result.get("response")
    if result.get("error") or not isinstance(response, dict) or response.get("status_code") != 200:
        return None
    body = response.get("body")
    return body if isinstance(body, dict) else None


def read_result(result: Mapping[str, Any], index: int, mode: Mode, hidden: Iterable[str] = ()) -> Completion:
    """A result as a completion; that of a failed request has finish reason "error" and the problem as its text.

    A prompt that the server's content filter refuses finishes with "content_filter", as with the live API.

    Args:
        result: an object of the output or the error file.
        index: of the prompt.
        mode: endpoint that was asked.
        hidden: secrets that the server may have quoted.
    """
    body = reply_body(result)
    if body is not None:
        try:
            reply = read_chat(body, index) if mode == "chat" else read_completion(body, index)
            return replace(reply, batched=True)
        except MalformedReplyError as fault:
            return failed(index, fault.problem)
    response = result.get("response")
    status = response.get("status_code") if isinstance(response, dict) else None
    error = result.get("error") or _error(response)
    code = error.get("code") if isinstance(error, dict) else None
    if status == 400 and code == "content_filter":
        return Completion(index, "", None, "content_filter", None, None)
    kind = f"HTTP {status}" if status not in (None, 200) else str(code or "failed")
    said = server_message(error, hidden)
    return failed(index, f"{kind}: {said}" if said else kind)


def failed(index: int, problem: str) -> Completion:
    """The completion of a request that failed for good."""
    return Completion(index, problem, None, "error", None, None)


def _error(response: object) -> object:
    body = response.get("body") if isinstance(response, dict) else None
    return body.get("error") if isinstance(body, dict) else body
