"""The two files of a human evaluation: the key that stays with us, and the rankings that an annotator sends back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tuna_eval.disk import as_store_error, replacing
from tuna_eval.errors import DataError, StoreError
from tuna_eval.schema import SCHEMA_VERSION
from tuna_eval.store import refuse_run_folder

KEY_KIND = "human-key"
RANKINGS_KIND = "human-rankings"

Places = tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Key:
    """Which answer on an exported page is whose.

    Attributes:
        export: identity of the page: another one for other systems, questions, answers or seed.
        seed: what the order and the tokens were made from.
        systems: their names, sorted.
        answers: by question id, the system behind each token, in the order in which the page shows them.
    """

    export: str
    seed: int
    systems: tuple[str, ...]
    answers: Mapping[str, Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class Rankings:
    """What one annotator decided, with the systems' names put back.

    Attributes:
        annotator: as written on the page, without surrounding blanks.
        places: by question id, the systems from best to worst; those in one place are tied.
    """

    annotator: str
    places: Mapping[str, Places]


def write_key(file: Path, key: Key) -> None:
    """Writes the key beside its page; the same export again writes the same file.

    Raises:
        StoreError: the file is the key of another export, which could not be scored without it, or the
            file cannot be written.
    """
    text = json.dumps({"kind": KEY_KIND, "schema_version": SCHEMA_VERSION, **asdict(key)}, indent=1) + "\n"
    if file.is_file() and file.read_bytes() != text.encode():
        raise StoreError(
            "holds the key of another export, whose rankings cannot be scored without it",
            place=str(file),
            cure="choose another file name for the page, or remove the key if nobody ranks that page",
        )
    write_text(file, text)


def write_text(file: Path, text: str) -> None:
    """Writes a file, its folder first if need be; an old file stays until the new one is whole.

    Raises:
        ConfigError: it would lie in the folder of a run.
        StoreError: the system refuses.
    """
    refuse_run_folder(file)
    if file.exists() and not file.is_file():  # a pipe or a terminal cannot be replaced
        with as_store_error(file):
            file.write_text(text, encoding="utf-8", newline="\n")
        return
    with replacing(file) as write:
        write(text)


def read_key(file: Path) -> Key:
    """The key that an export wrote.

    Raises:
        DataError: the file is missing, broken or something else.
    """
    cure = "name the .key.json file that the export wrote beside its page"
    match _read(file, KEY_KIND, cure):
        case {"export": str(export), "seed": int(seed), "systems": [*systems], "answers": dict(answers)} if all(
            isinstance(tokens, dict) and sorted(map(str, tokens.values())) == systems for tokens in answers.values()
        ):
            return Key(export, seed, tuple(systems), answers)
    raise DataError("not a whole key: a field is missing or of the wrong kind", place=str(file), cure=cure)


def read_rankings(file: Path, key: Key) -> Rankings:
    """The rankings that a page saved.

    Raises:
        DataError: the file is missing, broken, of another export, incomplete, or names an answer that the key does not.
    """
    cure = "ask the annotator for the file that the page's Save button downloads"
    content = _read(file, RANKINGS_KIND, cure)
    match content:
        case {"export": str(export), "annotator": str(annotator), "rankings": [*rankings]} if annotator.strip():
            pass
        case _:
            raise DataError('needs "export", "annotator" and "rankings"', place=str(file), cure=cure)
    if export != key.export:
        raise DataError(
            f"belongs to export {export:.12}, the key to export {key.export:.12}",
            place=str(file),
            cure="score each export with its own key",
        )
    places: dict[str, Places] = {}
    for ranking in rankings:
        match ranking:
            case {"question": str(question), "places": [*tied]} if _is_text(tied) and question not in places:
                places[question] = _named(tied, key, question, str(file))
            case _:
                raise DataError(
                    f"not a question's ranking, or its second one: {ranking!r:.80}", place=str(file), cure=cure
                )
    if missing := [question for question in key.answers if question not in places]:
        raise DataError(
            f"{len(missing)} of {len(key.answers)} questions are not in the file, the first is {missing[0]!r}",
            place=str(file),
            cure=cure,
        )
    return Rankings(annotator.strip(), places)


def _is_text(places: list[Any]) -> bool:
    return all(isinstance(tied, list) and all(isinstance(token, str) for token in tied) for tied in places)


def _named(places: list[list[str]], key: Key, question: str, place: str) -> Places:
    """One question's ranking with systems for tokens; every answer stands in it once."""
    if question not in key.answers:
        raise DataError(f"the export has no question {question!r}", place=place, cure="do not edit saved files")
    system = key.answers[question]
    tokens = [token for tied in places for token in tied]
    for token in tokens:
        if token not in system:
            raise DataError(
                f"unknown answer {token!r:.40} in question {question!r}", place=place, cure="do not edit saved files"
            )
    if len(tokens) != len(set(tokens)):
        raise DataError(
            f"an answer is ranked twice in question {question!r}", place=place, cure="do not edit saved files"
        )
    if len(tokens) < len(system):
        raise DataError(
            f"question {question!r} is unfinished: {len(tokens)} of {len(system)} answers are ranked",
            place=place,
            cure='let the annotator open the file on the page, rank the rest ("Next unfinished") and save again',
        )
    return tuple(tuple(system[token] for token in tied) for tied in places)


def read_json(file: Path, cure: str) -> Any:
    """The value in a JSON file.

    Raises:
        DataError: the file is missing or broken; the message ends in the cure.
    """
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror})", place=str(file), cure=cure) from error
    except ValueError as error:
        raise DataError("not a JSON file", place=str(file), cure=cure) from error


def _read(file: Path, kind: str, cure: str) -> dict[str, Any]:
    """A JSON object of one of our kinds, schema version checked."""
    content = read_json(file, cure)
    if not isinstance(content, dict) or content.get("kind") != kind:
        raise DataError(f'not a file of kind "{kind}"', place=str(file), cure=cure)
    if content.get("schema_version") != SCHEMA_VERSION:
        raise DataError(
            f"schema version {content.get('schema_version')!r:.20}, this version of Tuna reads {SCHEMA_VERSION}",
            place=str(file),
            cure="read it with the version of Tuna that wrote the page",
        )
    return content
