"""Mistakes in the words of both command lines: one line that names the command, the word and the help, exit code 2."""

from __future__ import annotations

import pytest

from tuna_eval.cli import main as tuna_eval
from tuna_train.cli import main as tuna_train

TO = "(choose from 'ranked', 'dpo', 'trl-reward', 'openrlhf', 'alpaca', 'sharegpt', 'tuna-training')"


@pytest.mark.parametrize(
    ("words", "command", "said"),
    [
        ("run --suite superni", "run", "the following arguments are required: --model;"),
        ("run --modle demo", "run", "are required: --model; did you mean --model by --modle?"),
        ("run --model demo --limt 3", "run", "unrecognized arguments: --limt 3; did you mean --limit?"),
        ("run --model demo --limt=3", "run", "unrecognized arguments: --limt=3; did you mean --limit?"),
        ("run --model demo --colour", "run", "unrecognized arguments: --colour;"),
        ("run --model demo --limit x", "run", "argument --limit: invalid int value: 'x';"),
        ("run --model demo --judge-m 3", "run", "ambiguous option: --judge-m could match "),
        ("gate R --baseline B --format xml", "gate", "'xml' (choose from 'text', 'junit', 'github', 'json');"),
        ("plot R --figure radr --out a.svg", "plot", "'trend', 'length-win'); did you mean radar?"),
        ("baseline set", "baseline set", "the following arguments are required: NAME, RUN;"),
        ("baseline shw", "baseline", "(choose from 'set', 'show'); did you mean show?"),
        ("jugde run", "", "did you mean judge?"),
        ("", "", "the following arguments are required: COMMAND;"),
    ],
)
def test_a_mistake_in_the_words_of_tuna_eval_is_one_line(
    words: str, command: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        tuna_eval(words.split())
    check(capsys, end.value.code, f"tuna-eval {command}".strip(), said)


@pytest.mark.parametrize(
    ("words", "command", "said"),
    [
        ("data convert a b --to dop", "data convert", f"{TO}; did you mean dpo?"),
        ("recipe show tuna --set a=1", "recipe show", "unrecognized arguments: --set;"),
        ("recipe run tuna --dryrun a=1", "recipe run", "unrecognized arguments: --dryrun; did you mean --dry-run?"),
        ("sft a=1 --confg x", "sft", "unrecognized arguments: --confg x; did you mean --config?"),
        ("nll M D a=1", "nll", "unrecognized arguments: a=1;"),
        ("rnk", "", "did you mean rank?"),
    ],
)
def test_a_mistake_in_the_words_of_tuna_train_is_one_line(
    words: str, command: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        tuna_train(words.split())
    check(capsys, end.value.code, f"tuna-train {command}".strip(), said)


def check(capsys: pytest.CaptureFixture[str], code: object, program: str, said: str) -> None:
    out, told = capsys.readouterr()
    assert (code, out) == (2, "")
    (line,) = told.splitlines()
    assert line.startswith(f"{program}: ")
    assert said in line
    assert line.endswith(f" {program} --help shows its use")
    assert line.count("did you mean") == said.count("did you mean")


@pytest.mark.parametrize("words", [["--help"], ["run", "--help"], ["baseline", "set", "--help"], ["--version"]])
def test_help_and_version_are_as_they_were(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        tuna_eval(words)
    out, told = capsys.readouterr()
    assert (end.value.code, told) == (0, "")
    assert out.startswith("usage: tuna-eval " if "--help" in words else "tuna-eval ")
