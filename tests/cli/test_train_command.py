"""tuna-train as a user meets it: help with every key, one line and exit code 2 for a mistake, nll's numbers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tiny_models import save_model
from tuna_train.cli import main, parse
from tuna_train.config import RankConfig


def test_help_lists_every_key(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["rank", "--help"])
    assert end.value.code == 0
    shown = capsys.readouterr().out
    assert all(f"  {name}" in shown for name in RankConfig.model_fields)
    assert "m of Eq. 5, nats per token and rank; Table 7" in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["rank"], "command line: model: a value is missing"),
        (["rank", "model=demo", "data=d", "output=o", "lr=1"], "unknown key 'lr'"),
        (["sft", "--config", "none.yaml"], "none.yaml: cannot be read"),
        (["sft", "model=demo", "data=none.json", "output=o"], "none.json: cannot be read"),
        (["nll", "nowhere/at/all", "none.json"], "none.json: cannot be read"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("tuna-train: ")
    assert message in line
    assert not (tmp_path / "o").exists()


def test_assignments_stand_in_any_order(capsys: pytest.CaptureFixture[str]) -> None:
    options = parse(["rank", "batch_size=8", "--config", "c.yaml", "max_steps=1"])
    assert (options.config, options.assignments) == (Path("c.yaml"), ["batch_size=8", "max_steps=1"])
    options = parse(["recipe", "run", "tuna", "base=B", "--dry-run", "instructions=I.json", "--out", "O", "judge=J"])
    assert (options.name, options.dry_run, options.out) == ("tuna", True, Path("O"))
    assert options.assignments == ["base=B", "instructions=I.json", "judge=J"]
    for words in (["rank", "--confg=c.yaml"], ["rank", "a=1", "--config", "c", "max_steps"], ["nll", "M", "D", "a=1"]):
        with pytest.raises(SystemExit) as end:
            parse(words)
        assert end.value.code == 2
        assert f"unrecognized arguments: {words[-1]}" in capsys.readouterr().err


def test_train_then_measure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """sft from a YAML file with a value replaced; nll says that the checkpoint has learnt."""
    model = save_model(tmp_path / "model")
    data = tmp_path / "alpaca.json"
    data.write_text(json.dumps([{"instruction": f"say {n}", "input": "", "output": "one two"} for n in range(8)]))
    config = tmp_path / "sft.yaml"
    config.write_text(f"model: {model}\ndata: {data}\noutput: {tmp_path / 'out'}\nbatch_size: 4\nmax_steps: 1\n")
    assert main(["sft", "--config", str(config), "learning_rate=1e-2", "max_steps=4"]) == 0
    capsys.readouterr()
    found = []
    for name in (model, tmp_path / "out"):
        assert main(["nll", str(name), str(data), "--json", "--limit", "3"]) == 0
        found.append(json.loads(capsys.readouterr().out))
    assert found[1]["all"]["per_token"] < found[0]["all"]["per_token"]
    assert found[0]["all"]["responses"] == 3
    assert main(["nll", str(tmp_path / "out"), str(data)]) == 0
    assert "nats per token" in capsys.readouterr().err
