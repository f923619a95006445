"""What `tuna-train data convert|show|mix|contamination|stats` do with their parsed options."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import combinations, islice
from pathlib import Path
from typing import Any

from tuna_eval.commands.data import print_text
from tuna_eval.console import ConsoleProgress
from tuna_eval.disk import replacing
from tuna_eval.errors import ConfigError
from tuna_train.data.contamination import Screen, open_screen
from tuna_train.data.costs import Cost, forecast, mean_tokens, spent
from tuna_train.data.export import ExportOptions, write_export
from tuna_train.data.formats import read_examples
from tuna_train.data.mixture import MixOptions, parse_input
from tuna_train.data.mixture_file import MixtureFile, make_mixture
from tuna_train.data.ranked import RankedExample
from tuna_train.data.stats import DataStatistics, agreement, length_unit, measure

REPEATED = "have an id that an earlier one has: tuna-train data mix renames them"
_SHORTENED = 400  # characters of a text that is shown


def convert_command(options: argparse.Namespace) -> int:
    """`tuna-train data convert`: one file into another format; refuses to replace a file."""
    _check_absent(options.output)
    dropped = Counter[str]()
    examples = _repeated_counted(_examples(options.input, options, dropped), dropped)
    if options.beta is not None:
        examples = _ranked_by_likelihood(examples, options.beta, options.input)
    choices = ExportOptions(options.pairs, options.prompt, options.response)
    written = write_export(options.output, examples, options.to, choices)
    progress = ConsoleProgress()
    _tell_dropped(dropped, progress)
    if written.without:
        progress.note(f"{written.without} of {written.examples} examples lack what {options.to} needs: left out")
    progress.note(f"{written.records} records of {written.examples} examples in {options.output}")
    return 0


def _check_absent(file: Path) -> None:
    if file.exists():
        raise ConfigError("is there already", place=str(file), cure="choose another name, or remove it")


def _examples(file: Path, options: argparse.Namespace, dropped: Counter[str]) -> Iterator[RankedExample]:
    return read_examples(file, original=options.original, format=options.format, dropped=dropped)


def _repeated_counted(examples: Iterable[RankedExample], counts: Counter[str]) -> Iterator[RankedExample]:
    ids = set()
    for example in examples:
        if example.id in ids:
            counts[f"examples {REPEATED}"] += 1
        ids.add(example.id)
        yield example


def _ranked_by_likelihood(examples: Iterable[RankedExample], beta: float, file: Path) -> Iterator[RankedExample]:
    from tuna_train.data.teacher import check_beta, rank, with_logprobs

    beta = check_beta(beta)
    return (rank(with_logprobs(example, file), beta) for example in examples)


def _tell_dropped(dropped: Mapping[str, int], progress: ConsoleProgress) -> None:
    for what, count in dropped.items():
        progress.note(f"  {count} {what}")


def show_command(options: argparse.Namespace) -> int:
    """`tuna-train data show`: a few examples, to be read by people."""
    if options.limit < 1:
        raise ConfigError(f"--limit {options.limit} leaves nothing to show", cure="give 1 or more")
    for example in islice(_examples(options.file, options, Counter()), options.limit):
        print_text(_shown(example, None if options.full else _SHORTENED))
    return 0


def _shown(example: RankedExample, length: int | None) -> str:
    def cut(text: str) -> str:
        text = text if length is None or len(text) <= length else f"{text[:length]}… ({len(text)} characters)"
        printable = "".join(c if c.isprintable() or c == "\n" else " " for c in text)  # no escape codes, no surrogates
        return "\n".join(f"    {line}" for line in printable.splitlines()) or "    (empty)"

    lines = [f"── {example.id}", "  instruction", cut(example.instruction)]
    if example.input:
        lines += ["  input", cut(example.input)]
    if example.original is not None:
        lines += ["  original response", cut(example.original)]
    unranked = [candidate for candidate in example.candidates if candidate.rank is None]
    for candidate in (*example.ranked, *unranked):
        rank = "not ranked" if candidate.rank is None else f"rank {candidate.rank + 1}"
        facts = [candidate.source] if candidate.source else []
        for name, value in (("score", candidate.score), ("log p", candidate.logprob), ("tokens", candidate.tokens)):
            facts += [] if value is None else [f"{name} {value:g}"]
        lines += [f"  {rank}" + (f" ({', '.join(facts)})" if facts else ""), cut(candidate.text)]
    return "\n".join(lines) + "\n"


def mix_command(options: argparse.Namespace) -> int:
    """`tuna-train data mix`: a mixture and its record; the same mixture is not made twice."""
    if (options.original_as == "score") != (options.original_score is not None):
        raise ConfigError("--original-as score and --original-score X belong together", cure="give both or neither")
    choices = MixOptions(
        original_as=options.original_as,
        original_score=options.original_score,
        every_response=options.every_response,
        deduplicate=options.deduplicate,
        distinct=options.distinct,
        candidates=options.candidates,
        shuffle=options.shuffle,
        seed=options.seed,
    )
    progress = ConsoleProgress()
    inputs = [parse_input(word, options.first, options.last) for word in options.inputs]
    screen = _screen(options, progress) if options.decontaminate else None
    record = make_mixture(MixtureFile(options.out, inputs, choices, screen, options.originals))
    for made_of, counts in zip(record["inputs"], record["examples"], strict=True):
        progress.note(
            f"{made_of['file']}[{made_of['slice']}]: " + ", ".join(f"{n} {what}" for what, n in counts.items())
        )
    progress.note(
        f"{record['output']['examples']} examples in {options.out}, made of what {options.out}.mixture.json says"
    )
    return 0


def _screen(options: argparse.Namespace, progress: ConsoleProgress) -> Screen:
    screen = open_screen(options.benchmarks, data=options.data, data_dir=options.data_dir, n=options.ngram)
    for name, why in screen.unchecked.items():
        progress.note(f"warning: not compared with {name}: {why}")
    return screen


def contamination_command(options: argparse.Namespace) -> int:
    """`tuna-train data contamination`: what overlaps evaluation prompts; exit code 1 if anything does."""
    if options.out:
        _check_absent(options.out)
    progress = ConsoleProgress()
    screen = _screen(options, progress)
    counts = Counter[str]()
    by_benchmark = Counter[str]()

    def counted() -> Iterator[RankedExample]:
        for example in _examples(options.file, options, Counter()):
            counts["examples"] += 1
            yield example

    lines = []
    for found in screen.find(counted()):
        by_benchmark[found.overlap.benchmark] += 1
        lines.append(json.dumps({"id": found.id, **asdict(found.overlap)}) + "\n")
        if not options.json:
            overlap = found.overlap
            how = f"{overlap.ngrams} {options.ngram}-grams" if overlap.ngrams else "the whole prompt"
            print_text(f"{found.id}: {overlap.benchmark} {overlap.prompt}: {how}: {overlap.words!r}")
    if options.out:
        with replacing(options.out) as write:
            write("".join(lines))
    summary = {
        "examples": counts["examples"],
        "contaminated": by_benchmark.total(),
        "by_benchmark": dict(by_benchmark),
        "prompts": screen.benchmarks,
        "unchecked": [*screen.unchecked],
        "ngram": options.ngram,
    }
    if options.json:
        print_text(json.dumps(summary))
    checked = ", ".join(f"{count} of {name}" for name, count in screen.benchmarks.items())
    progress.note(f"{by_benchmark.total()} of {counts['examples']} examples overlap evaluation prompts ({checked})")
    return 1 if by_benchmark else 0


def stats_command(options: argparse.Namespace) -> int:
    """`tuna-train data stats`: figures of each file, agreement of every two, cost so far and forecast."""
    files = _labelled(options.files)
    unit = length_unit(options.length)
    statistics = {
        label: measure(read_examples(file), unit, keep_rankings=len(files) > 1, similarity=options.similarity)
        for label, file in files.items()
    }
    found: dict[str, Any] = {
        "length_unit": unit.name,
        "lengths_by_rank": {label: each.lengths_by_rank for label, each in statistics.items()},
        "files": {label: each.to_json() for label, each in statistics.items()},
        "agreement": [
            {"first": a, "second": b, **asdict(agreement(statistics[a].rankings, statistics[b].rankings))}
            for a, b in combinations(files, 2)
        ],
        "cost": [asdict(row) for row in _costs(list(files.values()), options)],
    }
    if options.plot:
        from tuna_train.data.stats_plot import plot_statistics

        plot_statistics(statistics, options.plot)
    print_text(json.dumps(found) if options.json else _tables(statistics, found))
    return 0


def _labelled(words: Sequence[str]) -> dict[str, Path]:
    """Files by label: what stands before "=", else the name without its ending."""
    files: dict[str, Path] = {}
    for word in words:
        is_labelled = "=" in word and not Path(word).exists()
        label, _, path = word.partition("=") if is_labelled else (Path(word).stem, "", word)
        file = Path(path)
        if label in files:
            raise ConfigError(f"two files are called {label!r}", place=str(file), cure=f"write OTHER={file}")
        files[label] = file
    return files


def _costs(files: Sequence[Path], options: argparse.Namespace) -> list[Cost]:
    tokens = mean_tokens(read_examples(files[0]), options.teacher)
    rows = forecast(
        tokens,
        instructions=options.instructions,
        teacher=options.teacher,
        judged=options.judged,
        judge=options.judge,
    )
    return [*(cost for file in files if (cost := spent(file))), *rows]


def _tables(statistics: Mapping[str, DataStatistics], found: Mapping[str, Any]) -> str:
    lines = [f"mean length by rank ({found['length_unit']})"]
    for label, each in statistics.items():
        lengths = " ".join(f"{length:8.1f}" for length in each.lengths_by_rank) or "   not ranked"
        lines.append(f"  {label:<24}{lengths}   {each.ranked_examples} of {each.examples} examples ranked")
    lines += [
        f"  {label:<24}{each.repeated_ids} examples {REPEATED}"
        for label, each in statistics.items()
        if each.repeated_ids
    ]
    if any(each.pairs for each in statistics.values()):
        lines.append("mean pairwise ROUGE-L of an instruction's responses")
        lines += [
            f"  {label:<24}{each.similarity:8.3f}   {each.pairs} pairs"
            for label, each in statistics.items()
            if each.pairs
        ]
    for row in found["agreement"]:
        lines.append(f"agreement of {row['first']} and {row['second']}: " + _agreed(row))
    lines.append("cost (US dollars)")
    lines += [f"  {_usd(row['usd'])}  {row['item']}: {row['source']}" for row in found["cost"]]
    return "\n".join(lines)


def _agreed(row: Mapping[str, Any]) -> str:
    if not row["examples"]:
        return "no example has two candidates that both ranked"
    tau = "undefined" if row["kendall_tau"] is None else f"{row['kendall_tau']:.3f}"
    best = f"same best {100 * row['top1']:.1f}%"
    return f"Kendall tau {tau}, {best}, {row['examples']} examples ({row['unmatched']} not shared)"


def _usd(amount: float | None) -> str:
    return f"{'–':>9}" if amount is None else f"{amount:9.2f}"
