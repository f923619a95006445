"""The web page on which people rank anonymous answers, and the key that says whose they are."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files as package_files
from pathlib import Path

from tuna_eval.errors import ConfigError, DataError
from tuna_eval.judge.protocols import Question
from tuna_eval.report.human.files import Key, write_key, write_text
from tuna_eval.report.inline import inert_json, inline_page

MAX_SYSTEMS = 26  # an answer is called by one letter


@dataclass(frozen=True, slots=True)
class Export:
    """What an export wrote.

    Attributes:
        page: one HTML file to hand to the annotators.
        key: stays with us; without it no ranking can be scored.
        revealing: ids of the questions where an answer's own text names one of the systems, so that an annotator may
            guess whose it is.
    """

    page: Path
    key: Path
    systems: int
    questions: int
    revealing: tuple[str, ...]


def export_page(
    systems: Mapping[str, Mapping[str, str]], questions: Sequence[Question], out: Path, seed: int
) -> Export:
    """Writes one self-contained page for ranking anonymous answers, and its key as <name>.key.json beside it.

    Order and tokens are made from the seed alone (HMAC-SHA256), so the same call writes the same files. Who knows the
    seed and the systems' names can undo the blinding: draw the seed at random (`secrets.randbits(63)`) and leave it in
    the key.

    Args:
        systems: by name, its answers by question id; answers to other questions are left out.
        questions: in the order in which the page asks them.
        out: the page's file; its folder is created if need be.
        seed: another seed gives another order, other tokens and another export.

    Raises:
        ConfigError: fewer than 2 or more than 26 systems, or no question.
        DataError: a system has no answer to a question, or two questions have one id.
        StoreError: the key of another export stands where this one's would, or a file cannot be written.
    """
    _check(systems, questions)
    shown = [(question, sorted((_keyed(seed, question.id, name), name) for name in systems)) for question in questions]
    content = [
        {
            "id": question.id,
            "category": question.category,
            "text": question.text,
            "answers": [{"token": token, "text": systems[name][question.id]} for token, name in answers],
        }
        for question, answers in shown
    ]
    export = _keyed(seed, json.dumps(content), *sorted(systems))
    named = re.compile("|".join(rf"(?<!\w){re.escape(name)}(?!\w)" for name in systems), re.IGNORECASE)
    revealing = [q.id for q in questions if any(named.search(answers[q.id]) for answers in systems.values())]
    key = Key(export, seed, tuple(sorted(systems)), {question.id: dict(answers) for question, answers in shown})
    key_file = out.with_name(f"{out.stem}.key.json")
    write_key(key_file, key)
    write_text(out, _page({"export": export, "questions": content}))
    return Export(out, key_file, len(systems), len(questions), tuple(revealing))


def _check(systems: Mapping[str, Mapping[str, str]], questions: Sequence[Question]) -> None:
    if not 2 <= len(systems) <= MAX_SYSTEMS:
        raise ConfigError(f"{len(systems)} systems to rank", cure=f"give 2 to {MAX_SYSTEMS} of different names")
    if not all(systems):
        raise ConfigError("a system without a name", cure="give each a name; the page does not show it")
    if not questions:
        raise ConfigError("no question to rank answers to", cure="give at least one")
    seen: set[str] = set()
    for question in questions:
        if question.id in seen:
            raise DataError(f"two questions have the id {question.id!r}", cure="give each its own")
        seen.add(question.id)
    for name, answers in systems.items():
        if missing := [question.id for question in questions if question.id not in answers]:
            raise DataError(
                f"no answer to {len(missing)} of {len(questions)} questions, the first is {missing[0]!r}",
                place=name,
                cure="finish that run, or export the questions that all systems answered",
            )


def _keyed(seed: int, *parts: str) -> str:
    """128 bits that say nothing about the parts to who does not know the seed."""
    return hmac.new(str(seed).encode(), json.dumps(parts).encode(), hashlib.sha256).hexdigest()[:32]


def _page(data: Mapping[str, object]) -> str:
    """The page with its style, script and data inside."""
    folder = package_files("tuna_eval.report.human")
    template, style, script = (
        (folder / name).read_text(encoding="utf-8") for name in ("page.html", "page.css", "page.js")
    )
    return inline_page(template, style, script, {"data": inert_json(data)})
