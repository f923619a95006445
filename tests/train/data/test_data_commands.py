"""`tuna-train data convert|show|mix|contamination|stats` as users run them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tuna_eval.datasets import resolve
from tuna_eval.tasks.vicuna import read_questions
from tuna_train.cli import main
from tuna_train.commands import data_options
from tuna_train.data.export import EXPORTS, PAIRS, PROMPTS, RESPONSES
from tuna_train.data.mixture import DEDUPLICATIONS
from tuna_train.data.originals import ORIGINAL_POLICIES
from tuna_train.data.ranked import Candidate, RankedExample, read_ranked, write_ranked


@pytest.fixture
def released(tmp_path: Path) -> Path:
    """The released probabilistic data's format: (logprob, length) of the specification, section 4.3."""
    record = {
        "orig": {"instruction": "Say it.", "input": "", "output": "It."},
        "text": ["a a", "b b", "c c", "d d"],
        "avg_token_prob": [-1.0, -1.1, -1.2, -0.95],
        "length": [10, 60, 30, 2],
        "logprob": [-10.0, -66.0, -36.0, -1.9],
    }
    file = tmp_path / "davinci.json"
    file.write_text(json.dumps([record] * 3))
    return file


def test_the_choices_shown_are_those_there_are() -> None:
    assert tuple(EXPORTS) == data_options.FORMATS
    assert data_options.PAIRS == PAIRS
    assert data_options.PROMPTS == PROMPTS
    assert data_options.RESPONSES == RESPONSES
    assert tuple(ORIGINAL_POLICIES) == data_options.ORIGINALS
    assert data_options.DEDUPLICATION == DEDUPLICATIONS


@pytest.mark.parametrize(("beta", "expected"), [("1.0", "dabc"), ("1.3", "bcad")])
def test_released_data_is_converted_and_ranked(
    beta: str, expected: str, released: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "ranked.jsonl"
    assert main(["data", "convert", str(released), str(out), "--beta", beta]) == 0
    assert "3 records of 3 examples" in capsys.readouterr().err
    for example in read_ranked(out):
        assert "".join(candidate.text[0] for candidate in example.ranked) == expected
        assert example.original == "It."
    assert (
        main(["data", "convert", str(out), str(tmp_path / "dpo.json"), "--to", "dpo", "--pairs", "best-vs-rest"]) == 0
    )
    assert len(json.loads((tmp_path / "dpo.json").read_text())) == 9


def test_nothing_is_replaced(released: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = released.read_bytes()
    assert main(["data", "convert", str(released), str(released)]) == 2
    assert capsys.readouterr().err == f"tuna-train: {released}: is there already; choose another name, or remove it\n"
    assert released.read_bytes() == before


def test_an_unranked_file_gives_no_pairs_and_says_so(
    released: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "convert", str(released), str(tmp_path / "dpo.jsonl"), "--to", "dpo"]) == 0
    assert "3 of 3 examples lack what dpo needs" in capsys.readouterr().err


def test_show_is_readable_and_harmless(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "x.jsonl"
    candidates = (Candidate("worse\x1b[2J \ud800", score=-1.0, rank=1), Candidate("b" * 900, "m", tokens=9, rank=0))
    write_ranked(file, [RankedExample(f"id{n}", "Do it.", "with this", "gladly", candidates) for n in range(5)])
    assert main(["data", "show", str(file), "--limit", "2"]) == 0
    shown = capsys.readouterr().out
    assert shown.count("── id") == 2
    assert "\x1b" not in shown
    assert shown.index("rank 1 (m, tokens 9)") < shown.index("rank 2 (score -1)")
    assert "… (900 characters)" in shown
    assert main(["data", "show", str(file), "--full"]) == 0
    assert "b" * 900 in capsys.readouterr().out


def test_a_mixture_without_the_evaluation_prompts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    question = read_questions(resolve("vicuna", "mini"))[0].text
    file, out = tmp_path / "alpaca.json", tmp_path / "clean.jsonl"
    texts = ["Whittle a spoon of birch.", f"{question}", "Whittle a spoon of birch."]
    file.write_text(json.dumps([{"instruction": text, "input": "", "output": "Yes."} for text in texts]))
    assert main(["data", "contamination", str(file), "--data", "mini", "--json", "--out", str(tmp_path / "o")]) == 1
    summary = json.loads(capsys.readouterr().out)
    assert (summary["examples"], summary["contaminated"], summary["by_benchmark"]) == (3, 1, {"vicuna": 1})
    [line] = (tmp_path / "o").read_text().splitlines()
    assert json.loads(line)["id"] == "1"
    words = ["data", "mix", str(file), "--decontaminate", "--data", "mini", "--deduplicate", "within"]
    assert main([*words, "--out", str(out)]) == 0
    told = capsys.readouterr().err
    assert "1 dropped: overlaps evaluation prompts" in told
    assert "1 dropped: same instruction and input" in told
    assert [example.id for example in read_ranked(out)] == ["0"]
    assert main(["data", "contamination", str(out), "--data", "mini"]) == 0


def test_the_commands_that_recipes_run(released: Path, tmp_path: Path) -> None:
    def mixed(name: str, *words: str) -> list[RankedExample]:
        assert main(["data", "mix", *words, "--out", str(tmp_path / name)]) == 0
        return list(read_ranked(tmp_path / name))

    assert [e.id for e in mixed("first.jsonl", str(released), "--first", "2")] == ["0", "1"]
    assert [e.id for e in mixed("last.jsonl", str(released), "--last", "1")] == ["2"]
    assert [e.original for e in mixed("mul.jsonl", str(released), "--every-response")][:5] == [
        "It.", "a a", "b b", "c c", "d d",
    ]  # fmt: skip
    both = mixed("both.jsonl", str(tmp_path / "first.jsonl"), str(tmp_path / "last.jsonl"))
    assert [e.id for e in both] == ["0", "1", "2"]


def test_mistakes_are_told_in_one_line(released: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = ["--out", str(tmp_path / "o.jsonl")]
    for words, message in (
        (["mix", str(released), *out, "--original-as", "score"], "--original-as score and --original-score X"),
        (["mix", str(tmp_path / "no.json"), *out], "cannot be read (No such file"),
        (["mix", str(released), *out, "--first", "0"], "--first 0 leaves nothing"),
        (["show", str(tmp_path)], "cannot be read (Is a directory)"),
        (["show", str(released), "--limit", "0"], "--limit 0 leaves nothing"),
        (["convert", str(released), str(tmp_path / "x.jsonl"), "--beta", "-1"], "a length penalty of -1"),
        (["stats", str(released), str(released)], "two files are called 'davinci'"),
    ):
        assert main(["data", *words]) == 2
        told = capsys.readouterr().err
        assert message in told
        assert told.count("\n") == 1
    assert [file.name for file in tmp_path.iterdir()] == ["davinci.json"]


def test_statistics_as_the_tables_read_them(released: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = []
    for beta in ("1.0", "1.3"):
        files.append(f"b{beta}={tmp_path / beta}.jsonl")
        assert main(["data", "convert", str(released), f"{tmp_path / beta}.jsonl", "--beta", beta]) == 0
    capsys.readouterr()
    figure = tmp_path / "f.png"
    assert main(["data", "stats", *files, "--length", "tokens", "--json", "--plot", str(figure)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["length_unit"] == "tokens as recorded"
    assert found["lengths_by_rank"] == {"b1.0": [2.0, 10.0, 60.0, 30.0], "b1.3": [60.0, 30.0, 10.0, 2.0]}
    [agreed] = found["agreement"]
    assert agreed["kendall_tau"] == pytest.approx(-2 / 3)  # dabc against bcad: only b before c in both
    assert (agreed["top1"], agreed["examples"]) == (0.0, 3)
    assert [set(row) for row in found["cost"]] == [{"item", "usd", "source"}] * 3
    assert found["cost"][-1]["usd"] == 1500.0
    assert figure.stat().st_size > 1000
    assert main(["data", "stats", *files, "--no-similarity"]) == 0
    table = capsys.readouterr().out
    assert "agreement of b1.0 and b1.3: Kendall tau -0.667, same best 0.0%, 3 examples (0 not shared)" in table
    assert "1500.00  human labelling" in table
    assert "ROUGE" not in table
