"""The prompts of stored samples, which keep only hashes: rebuilt from the run's data and settings, and checked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

from tuna_eval.errors import ConfigError, DataError
from tuna_eval.llm.fitting import PromptWriter
from tuna_eval.llm.prompts import FormatName, render
from tuna_eval.llm.scripted_engine import ScriptedEngine
from tuna_eval.schema import Prompt, RunRecord
from tuna_eval.store import prompt_sha256
from tuna_eval.tasks.base import Suite
from tuna_eval.tasks.catalog import SUITES, SuiteOptions, open_suites
from tuna_eval.tasks.superni import SuperNI

# "exact": its hash is that of the prompt that was sent. "changed": it is not, because the prompt was cut to fit the
# model, or the data are not those of the run. "unchecked": the run tells no hash. "missing": there is no text.
State = Literal["exact", "changed", "unchecked", "missing"]
STATES: tuple[State, ...] = get_args(State)


@dataclass(frozen=True, slots=True)
class Asked:
    """What a model was asked in one example.

    Attributes:
        text: the prompt; "" if it is missing.
        state: whether it is the one that was sent.
        references: the accepted outputs; none where they cannot be listed.
    """

    text: str = ""
    state: State = "missing"
    references: tuple[str, ...] = ()


@dataclass(frozen=True)
class RunPrompts:
    """The prompts of one run.

    Attributes:
        problem: why there are none, in one line; "" if there are.
        sources: by task and id, what was asked before a prompt format was put around it, whole.
        references: by task and id.
        categories: of the tasks, where the benchmark has some.
        shorter: by task and id, the source with ever fewer demonstrations, where some did not fit the model.
        rendered: puts the prompt format around a source.
    """

    problem: str = ""
    sources: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    references: Mapping[str, Mapping[str, tuple[str, ...]]] = field(default_factory=dict)
    categories: Mapping[str, str] = field(default_factory=dict)
    shorter: Mapping[tuple[str, str], Sequence[str]] = field(default_factory=dict)
    rendered: Callable[[str], Prompt] | None = None

    def of(self, task: str, id: str, sha256: str) -> Asked:
        """What was asked in one example.

        Args:
            task, id: the example.
            sha256: of the prompt that was sent; "" where that is not known.
        """
        references = self.references.get(task, {}).get(id, ())
        source = self.sources.get(task, {}).get(id)
        if source is None or self.rendered is None:
            return Asked(references=references)
        for text in (source, *self.shorter.get((task, id), ())):
            prompt = self.rendered(text)
            if prompt_sha256(prompt) == sha256:
                return Asked(prompt.text, "exact", references)
        return Asked(self.rendered(source).text, "changed" if sha256 else "unchecked", references)


@dataclass(frozen=True, slots=True)
class _Data:
    """A benchmark's data, as `RunPrompts` holds it."""

    sources: Mapping[str, Mapping[str, str]]
    references: Mapping[str, Mapping[str, tuple[str, ...]]]
    categories: Mapping[str, str]


class PromptSource:
    """Rebuilds the prompts of runs; runs that were asked the same share one reading of the data.

    Args:
        data_dir: a copy of the data, for runs that used one.
    """

    def __init__(self, data_dir: Path | None = None) -> None:
        self.data_dir = data_dir
        self._known: dict[Suite, _Data] = {}

    def of(self, record: RunRecord) -> RunPrompts:
        """The prompts of a run, as far as its data is at hand."""
        try:
            suite = _suite_of(record, self.data_dir)
            if suite not in self._known:
                self._known[suite] = _read(suite)
            shorter = _with_fewer_demonstrations(suite, record)
        except (ConfigError, DataError) as error:
            return RunPrompts(problem=str(error))
        data = self._known[suite]
        rendered = _renderer(record, next(iter(next(iter(data.sources.values())).values())))
        problem = "" if rendered else "the model's chat template cannot be told from its first prompt"
        return RunPrompts(problem, data.sources, data.references, data.categories, shorter, rendered)


def _read(suite: Suite) -> _Data:
    sources: dict[str, dict[str, str]] = {}
    for task, id, text in _sources(suite):
        sources.setdefault(task, {})[id] = text
    references = {task: {own.id: own.references for own in suite.examples(task)} for task in sources}
    categories = {task: suite.read(task).category for task in sources} if isinstance(suite, SuperNI) else {}
    return _Data(sources, references, categories)


def _suite_of(record: RunRecord, data_dir: Path | None) -> Suite:
    """The benchmark as the run was asked it.

    Raises:
        ConfigError, DataError: its data is not at hand, or of another version.
    """
    config: Mapping[str, Any] = record.config
    data = config.get("data")
    if data == "copy" and data_dir is None:
        raise ConfigError("the run used a copy of the data", place="--data-dir", cure="give its folder")
    names = [name for name in SUITES if record.suite.startswith(name)]
    if not names or data not in ("full", "mini", "copy"):
        raise DataError(f"the record tells no data of {record.suite}", cure="run it with this version of Tuna")
    chosen = SuiteOptions(
        data="mini" if data == "mini" else "full",
        data_dir=None if data == "mini" else data_dir,
        limit=config.get("limit"),
        tasks=tuple(config.get("tasks") or ()),
        shots=(shots,) if isinstance(shots := config.get("shots"), int) else (),
    )
    if "max_source_tokens" in config:
        chosen = replace(chosen, max_source_tokens=int(config["max_source_tokens"]))
    (suite,) = open_suites(names, chosen)
    if suite.version != record.version:
        problem = f"the run was asked version {record.version} of {suite.name}, this is version {suite.version}"
        raise DataError(problem, cure="make the report with the version of Tuna that made the run")
    return suite


def _sources(suite: Suite) -> Iterator[tuple[str, str, str]]:
    """Task, id and text of every example before a prompt format is put around it, whole."""
    for prepared in suite.prepare(PromptWriter(ScriptedEngine(()), "plain", suite.max_new_tokens)):
        yield prepared.task, prepared.id, prepared.prompt.text


def _with_fewer_demonstrations(suite: Suite, record: RunRecord) -> dict[tuple[str, str], list[str]]:
    """The texts of the examples that lost demonstrations to the length limit: with one less, with two less..."""
    dropped = record.prompts.get("demonstrations_dropped")
    listed = dropped.get("ids") if isinstance(dropped, dict) else None
    if not isinstance(suite, SuperNI) or not listed or not isinstance(listed, list):
        return {}
    wanted = {tuple(str(name).split(" ", 1)) for name in listed}
    globs = tuple(dict.fromkeys(str(name).split(" ", 1)[0] for name in listed))
    found: dict[tuple[str, str], list[str]] = {}
    for shots in range((suite.shots or 0) - 1, -1, -1):
        for task, id, text in _sources(replace(suite, shots=shots, globs=globs)):
            if (task, id) in wanted:
                found.setdefault((task, id), []).append(text)
    return found


def _renderer(record: RunRecord, first_source: str) -> Callable[[str], Prompt] | None:
    """What puts the run's prompt format around a text; None if that cannot be told.

    A chat template belongs to the model, which need not be here: what stands around the text of the first prompt,
    which the record holds whole, stands around every other. Each prompt's hash tells whether that is so.
    """
    format = record.config.get("format")
    if format != "chat":
        known: FormatName = "alpaca" if format == "alpaca" else "plain"
        engine = ScriptedEngine(())
        return lambda text: render(text, known, engine)
    whole, inner = str(record.prompts.get("first", "")), first_source.strip()
    before, match, after = whole.rpartition(inner)
    if not inner or not match:
        return None
    return lambda text: Prompt(before + text.strip() + after, has_special_tokens=True)
