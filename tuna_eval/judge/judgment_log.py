"""judgments.jsonl: every judgment as it came. Eight bytes a judgment are held in memory, the replies stay on disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from tuna_eval.disk import appending, drop_torn_line, json_line, parse_line
from tuna_eval.errors import DataError
from tuna_eval.judge.line_index import LineIndex, whole_lines
from tuna_eval.judge.protocols import Judgment, Order, Question
from tuna_eval.judge.report import JudgeUsage


class JudgmentLog:
    """The judgments of some questions on disk. Of the same question, order and repeat the newest line counts.

    Args:
        file: need not exist yet.
        questions: whose judgments they are; ids are unique.
        pairs: hash of each question's pair, by its id; a judgment of another pair counts as not made. None takes all.
    """

    def __init__(self, file: Path, questions: Sequence[Question], pairs: Mapping[str, str] | None = None) -> None:
        self.file, self.pairs = file, pairs
        self._row = {question.id: row for row, question in enumerate(questions)}
        self._index: LineIndex[tuple[Order, int]] = LineIndex(len(questions))
        self.usage = JudgeUsage()

    def read(self, *, repair: bool = False) -> None:
        """Reads the file anew. A line torn by a crash is passed over.

        Args:
            repair: drop the torn line from the file; for the one process that may write.

        Raises:
            DataError: a line is no judgment, or one of a question that was not asked.
            StoreError: the torn line cannot be dropped.
        """
        self._index, self.usage = LineIndex(len(self._row)), JudgeUsage()
        if not self.file.exists():
            return
        if repair:
            drop_torn_line(self.file)
        with self.file.open("rb") as stream:
            for number, offset, line in whole_lines(stream):
                judgment, pair = _parsed(line, f"{self.file}:{number}")
                self._enter(judgment, pair, offset)

    def is_made(self, id: str, order: Order, repeat: int) -> bool:
        """Whether a judgment is there and did not fail on the way to the judge."""
        return self._index.is_made((order, repeat), self._row[id])

    def of(self, questions: Sequence[Question]) -> Iterator[tuple[Question, list[Judgment]]]:
        """Each question with its judgments, failed ones included, one question in memory at a time."""
        if not self._index:
            yield from ((question, []) for question in questions)
            return
        with self.file.open("rb") as stream:
            for question in questions:
                lines = self._index.lines(self._row[question.id], stream)
                yield question, [_parsed(line, str(self.file))[0] for line in lines]

    @contextmanager
    def appender(self) -> Iterator[Callable[[Judgment], None]]:
        """A function that appends one judgment and hands it to the operating system before it returns."""
        with appending(self.file) as append:
            yield lambda judgment: append(json_line(asdict(judgment) | self._pair_of(judgment)))

    def reusable(self, others: Sequence[Path]) -> Iterator[Judgment]:
        """The judgments in other logs of the same judge that are of the same pairs and not made here, each once."""
        known = self.pairs or {}
        seen: set[tuple[str, Order, int]] = set()
        for file in others:
            with file.open("rb") as stream:
                for number, _, line in whole_lines(stream):
                    judgment, pair = _parsed(line, f"{file}:{number}")
                    key = judgment.id, judgment.order, judgment.repeat
                    if judgment.state == "api_error" or not pair or known.get(judgment.id) != pair or key in seen:
                        continue
                    seen.add(key)
                    if not self.is_made(*key):
                        yield judgment

    def _pair_of(self, judgment: Judgment) -> dict[str, str]:
        return {} if self.pairs is None else {"pair_sha256": self.pairs[judgment.id]}

    def _enter(self, judgment: Judgment, pair: str, offset: int) -> None:
        row = self._row.get(judgment.id)
        if row is None:
            raise DataError(
                f"a judgment of question {judgment.id!r}, which was not asked",
                place=str(self.file),
                cure="judge with the questions that the answers were made from",
            )
        self.usage.enter(judgment)
        if self.pairs is not None and pair and pair != self.pairs[judgment.id]:
            return
        self._index.enter((judgment.order, judgment.repeat), row, offset, is_failed=judgment.state == "api_error")


def _parsed(line: bytes, place: str) -> tuple[Judgment, str]:
    """A judgment and the hash of the pair that it is of, "" if that is not told."""
    values = parse_line(line, place)
    values.pop("schema_version", None)
    pair = str(values.pop("pair_sha256", ""))
    try:
        scores = values.pop("scores")
        return Judgment(scores=None if scores is None else (float(scores[0]), float(scores[1])), **values), pair
    except (TypeError, ValueError, KeyError, IndexError) as error:
        raise DataError("not a judgment", place=place, cure="mend or remove the line") from error
