"""The text around a question and two answers: the project's own wording, and the upstream prompt files."""

from __future__ import annotations

import hashlib
import json
import string
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tuna_eval.errors import DataError

Templates = Mapping[str, "JudgeTemplate"]

_FIELDS = {"question", "answer_1", "answer_2", "reference"}
OWN = Path(__file__).parent / "prompts"

# Where a data folder may hold FastChat's file: fetched, copied, or in a clone.
REVIEW_FILES = (
    "gpt4_review_2023/prompt.jsonl",
    "prompt.jsonl",
    "fastchat/eval/table/prompt.jsonl",
)
PAIRWISE_FILES = (
    "judge_prompts.jsonl",
    "fastchat/llm_judge/data/judge_prompts.jsonl",
)


@dataclass(frozen=True, slots=True)
class JudgePrompt:
    """What a judge is asked: a system message and a user message, to the last character."""

    system: str
    user: str


@dataclass(frozen=True, slots=True)
class JudgeTemplate:
    """The texts of a judge prompt.

    Attributes:
        system: the system message; it has no fields.
        user: has the fields {question}, {answer_1} and {answer_2} (shown first and second), perhaps {reference};
            other braces are doubled.
    """

    system: str
    user: str

    def render(self, question: str, answer_1: str, answer_2: str, reference: str | None = None) -> JudgePrompt:
        """The prompt for two answers; braces in them are left as they are.

        Raises:
            ValueError: the template has a field for a reference answer, and there is none.
        """
        if reference is None and self.needs_reference:
            raise ValueError("this judge prompt needs a reference answer")
        texts = {"question": question, "answer_1": answer_1, "answer_2": answer_2, "reference": reference}
        return JudgePrompt(self.system, self.user.format_map(texts))

    @property
    def needs_reference(self) -> bool:
        """Whether the prompt has a place for a reference answer."""
        return "reference" in _fields(self.user)


def _fields(text: str) -> list[str]:
    """The replacement fields of a format string, in order; ValueError if it is none."""
    return [
        f"{name}{'!' + conversion if conversion else ''}{':' + form if form else ''}"
        for _, name, form, conversion in string.Formatter().parse(text)
        if name is not None
    ]


def own_templates(protocol: str) -> Templates:
    """The project's own wording of a protocol's prompts, by kind of question.

    Args:
        protocol: "review-2023" or "pairwise-v2".

    Raises:
        DataError: the file is broken, or there is none.
    """
    file = OWN / f"{protocol}.yaml"
    return {kind: _checked(texts.system, texts.user, str(file)) for kind, texts in read_texts(file).items()}


def read_texts(file: Path) -> dict[str, JudgePrompt]:
    """The system and user texts of a file of judge prompts, by kind; their fields are not looked at yet.

    Raises:
        DataError: the file is broken, or there is none.
    """
    try:
        raw = yaml.safe_load(file.read_text(encoding="utf-8"))
        texts = {kind: JudgePrompt(each["system"], each["user"]) for kind, each in raw.items()}
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError, AttributeError) as fault:
        raise DataError(f"cannot read these judge prompts: {fault!r}", place=str(file)) from fault
    if not all(isinstance(text, str) for each in texts.values() for text in (each.system, each.user)):
        raise DataError("system and user must be texts", place=str(file))
    return texts


def upstream_review_templates(folder: Path) -> Templates:
    """FastChat's review prompts of 2023 (eval/table/prompt.jsonl, at the parent of f8557940), byte for byte.

    Raises:
        DataError: the folder has no such file, or it is not in the expected form.
    """
    file = _find(folder, REVIEW_FILES)
    found = {}
    for entry in _lines(file):
        # A format string is filled in by the caller; the criteria are not one, so their braces must survive it.
        criteria = _text(entry.get("defaults", {}), "prompt", file).replace("{", "{{").replace("}", "}}")
        user = _text(entry, "prompt_template", file).replace("{prompt}", criteria)
        found[_text(entry, "category", file)] = _checked(_text(entry, "system_prompt", file), user, str(file))
    return _complete(found, {"general", "coding", "math"}, file)


def upstream_pairwise_templates(folder: Path) -> Templates:
    """FastChat's single-turn pairwise prompts (llm_judge, judge_prompts.jsonl, at 0e6d3e4), byte for byte.

    Raises:
        DataError: the folder has no such file, or it is not in the expected form.
    """
    file = _find(folder, PAIRWISE_FILES)
    kinds = {"pair-v2": "general", "pair-math-v1": "reference"}
    names = {"{answer_a}": "{answer_1}", "{answer_b}": "{answer_2}", "{ref_answer_1}": "{reference}"}
    found = {}
    for entry in _lines(file):
        kind = kinds.get(_text(entry, "name", file))
        if kind is None:
            continue
        user = _text(entry, "prompt_template", file)
        for theirs, ours in names.items():
            user = user.replace(theirs, ours)
        found[kind] = _checked(_text(entry, "system_prompt", file), user, str(file))
    return _complete(found, set(kinds.values()), file)


def templates_sha256(templates: Mapping[str, JudgeTemplate | JudgePrompt]) -> str:
    """Hash of all texts of a protocol, for signatures and keys: 64 hex digits."""
    texts = {kind: [template.system, template.user] for kind, template in templates.items()}
    return hashlib.sha256(json.dumps(texts, sort_keys=True).encode()).hexdigest()


def fields_of(user: str, place: str) -> set[str]:
    """The replacement fields of a user text; DataError if it is no format string."""
    try:
        return set(_fields(user))
    except ValueError as fault:
        raise DataError(f"not a prompt template ({fault}): {user!r:.60}", place=place) from fault


def _checked(system: str, user: str, place: str) -> JudgeTemplate:
    """A template whose fields are the known ones and include the question and both answers."""
    fields = fields_of(user, place)
    if not _FIELDS - {"reference"} <= fields <= _FIELDS:
        problem = f"a judge prompt has the fields {', '.join(sorted(fields)) or 'none'}"
        raise DataError(problem, place=place, cure=f"expected {', '.join(sorted(_FIELDS))} (the last is optional)")
    return JudgeTemplate(system, user)


def _find(folder: Path, names: tuple[str, ...]) -> Path:
    for name in names:
        if (folder / name).is_file():
            return folder / name
    tried = ", ".join(names)
    cure = "fetch or copy it, or judge with the project's own wording"
    raise DataError(f"no upstream judge prompts here (looked for {tried})", place=str(folder), cure=cure)


def _lines(file: Path) -> list[Mapping[str, Any]]:
    """The objects of a JSON Lines file."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as fault:
        raise DataError(f"cannot be read: {fault}", place=str(file)) from fault
    found = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
        except json.JSONDecodeError as fault:
            raise DataError(f"not valid JSON ({fault.msg})", place=f"{file}:{number}", cure="fetch it again") from fault
        if not isinstance(entry, Mapping):
            raise DataError("not a JSON object", place=f"{file}:{number}", cure="fetch it again")
        found.append(entry)
    return found


def _text(entry: object, key: str, file: Path) -> str:
    value = entry.get(key) if isinstance(entry, Mapping) else None
    if not isinstance(value, str):
        raise DataError(f"a prompt without the text {key!r}", place=str(file), cure="fetch it again")
    return value


def _complete(found: dict[str, JudgeTemplate], kinds: set[str], file: Path) -> Templates:
    if missing := sorted(kinds - found.keys()):
        raise DataError(f"no prompt for {', '.join(missing)}", place=str(file), cure="fetch it again")
    return found
