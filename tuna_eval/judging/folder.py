"""One judging on disk: <run folder>/judged/<judging id>/.

pairs.jsonl holds the answers that were compared, judgments.jsonl every reply of the judge, appended as it comes,
verdicts.jsonl what they come to, question by question, and judging.json the record.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuna_eval.disk import json_line, locked, read_lines, replacing
from tuna_eval.errors import DataError, StoreError
from tuna_eval.judge.factory import ORDERS
from tuna_eval.judge.protocols import Pair, Verdict
from tuna_eval.judge.report import Lengths
from tuna_eval.schema import JSON, SCHEMA_VERSION


@dataclass(frozen=True, slots=True)
class StoredChoices:
    """How the replies of a judging were asked for and are read, in the words of the options.

    Attributes:
        protocol: key of `PROTOCOLS`, or "likelihood".
        orders: key of `ORDERS`.
        parser: one of the protocol's; "" for a likelihood judge.
        wording: whose prompts, "own" or "upstream"; "" for a likelihood judge.
    """

    protocol: str
    orders: str
    parser: str
    wording: str


def choices_of(signature: str) -> StoredChoices:
    """What a protocol's signature says."""
    parts = dict(part.partition(":")[::2] for part in signature.split("|"))
    made = set(parts.get("orders", "").split("+"))
    orders = next((name for name, each in ORDERS.items() if set(each) == made), "default")
    protocol = parts.get("judge", "")
    chosen = "default" if protocol == "likelihood" else orders  # which cannot be chosen there
    return StoredChoices(protocol, chosen, parts.get("parser", ""), parts.get("wording", ""))


def stored_choices(folder: Path) -> StoredChoices:
    """How the judging in a folder was asked for and is read.

    Raises:
        StoreError: its record is missing or broken.
    """
    record = JudgingFolder(folder).read_record()
    try:
        return StoredChoices(**record["choices"])
    except (KeyError, TypeError):
        return choices_of(str(record["signature"]))


class JudgingFolder:
    """A judging's files.

    Args:
        path: created when something is written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.judgments_file = path / "judgments.jsonl"
        self._pairs_file, self._verdicts_file = path / "pairs.jsonl", path / "verdicts.jsonl"
        self._record_file = path / "judging.json"

    def locked(self) -> AbstractContextManager[None]:
        """Holds the judging for this process; StoreError if another one does."""
        return locked(self.path, "judging")

    def write_pairs(self, pairs: Iterable[Pair]) -> None:
        """Keeps what is judged beside the judgments, unless it is there: the baseline may be gone one day."""
        if self._pairs_file.exists():
            return
        with replacing(self._pairs_file) as write:
            for pair in pairs:
                write(json_line({"id": pair.question.id, "candidate": pair.candidate, "baseline": pair.baseline}))

    def logs_of_the_same_judge(self, identity: Mapping[str, JSON]) -> list[Path]:
        """The judgments of the run's other judgings whose judge has this fingerprint."""
        found, stored = [], json.loads(json.dumps(identity))
        for file in sorted(self.path.parent.glob("*/judgments.jsonl")):
            other = JudgingFolder(file.parent)
            if other.path == self.path or not other.has_record():
                continue
            try:
                record = other.read_record()
            except StoreError:  # of another version: its judgments cannot be told from others
                continue
            if record.get("identity") == stored:
                found.append(file)
        return found

    def baseline_answers(self) -> dict[str, str]:
        """The answers of the baseline that are judged, by question; none if nothing was judged here."""
        return {line["id"]: str(line["baseline"]) for line in read_lines(self._pairs_file)}

    def lengths(self) -> dict[str, Lengths]:
        """How long the answers are that are judged, by question."""
        lines = read_lines(self._pairs_file)
        return {line["id"]: Lengths(len(line["candidate"]), len(line["baseline"])) for line in lines}

    @contextmanager
    def verdict_writer(self) -> Iterator[Callable[[Verdict], None]]:
        """A function that writes one verdict; the old file stays until the new one is whole."""
        with replacing(self._verdicts_file) as write:

            def write_verdict(verdict: Verdict) -> None:
                write(json_line({"id": verdict.id, "category": verdict.category, "state": verdict.state}))

            yield write_verdict

    def states(self) -> dict[str, str]:
        """The state of each judged question.

        Raises:
            DataError: the judging was never finished.
        """
        if not self._verdicts_file.is_file():
            raise DataError("no finished judging here", place=str(self.path), cure="finish it first")
        return {line["id"]: str(line["state"]) for line in read_lines(self._verdicts_file)}

    def has_record(self) -> bool:
        """Whether a judging was begun here."""
        return self._record_file.is_file()

    def write_record(self, record: Mapping[str, Any]) -> None:
        """Writes judging.json; the old one stays until the new one is whole."""
        with replacing(self._record_file) as write:
            write(json.dumps({"schema_version": SCHEMA_VERSION, **record}, indent=2) + "\n")

    def read_record(self) -> dict[str, Any]:
        """What judging.json holds, without the schema version.

        Raises:
            StoreError: it is missing, broken, or of another schema version.
        """
        try:
            record = json.loads(self._record_file.read_text(encoding="utf-8"))
            if record.pop("schema_version") != SCHEMA_VERSION or not {"signature", "answers_sha256"} <= record.keys():
                raise KeyError("schema_version")
        except (OSError, ValueError, KeyError, AttributeError) as error:
            raise StoreError(
                f"not the record of a judging of schema version {SCHEMA_VERSION}",
                place=str(self._record_file),
                cure="read it with the version of Tuna that wrote it, or remove it: the judgments are kept",
            ) from error
        return dict(record)
