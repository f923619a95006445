"""Recipes: the numbers are the paper's, every command is one that exists, and what is needed is made first."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tuna_eval.errors import ConfigError
from tuna_train import config
from tuna_train.cli import main, parser
from tuna_train.data.ranked import RankedExample, read_ranked, write_ranked
from tuna_train.recipe import choose_parameters, load_recipe, recipe_names, shared
from tuna_train.recipe_plan import keep_parameters, plan

GIVEN = ["instructions=alpaca.json", "heldout=lima.jsonl"]
CONFIGS = {"sft": config.SftConfig, "rank": config.RankConfig, "prm": config.PrmConfig, "rl": config.RlConfig}
OUT = Path("out")


def planned(name: str, *assignments: str) -> list[str]:
    return [step.name for step in plan(name, choose_parameters([*GIVEN, *assignments]), OUT)]


def values(words: tuple[str, ...]) -> dict[str, str]:
    return dict(word.split("=", 1) for word in words if "=" in word)


@pytest.mark.parametrize("name", recipe_names())
def test_every_command_of_a_recipe_can_be_run(name: str) -> None:
    for step in plan(name, choose_parameters(GIVEN), OUT):
        options = parser().parse_args(list(step.command))
        assert options.command
        if step.command[0] in CONFIGS:
            built = config.read_config(CONFIGS[step.command[0]], None, step.command[1:])
            assert built.output == step.output
            assert built.model


@pytest.mark.parametrize("name", recipe_names())
def test_what_a_command_reads_is_made_before_it(name: str) -> None:
    made: list[str] = []
    for step in plan(name, choose_parameters(GIVEN), OUT):
        produced = str(step.output)
        read = [w for word in step.command for w in re.findall(rf"{OUT}/[^\s\"\],]+", word) if w != produced]
        assert set(read) <= set(made), step.name
        made.append(produced)


def test_every_setting_names_its_place() -> None:
    for name in recipe_names():
        for key, setting in load_recipe(name).settings.items():
            assert len(setting.place) > 3, (name, key)


def test_learning_rates_are_those_of_table_7(shared: Path) -> None:
    text = (shared / "paper" / "tuna_2310.13385.txt").read_text(encoding="utf-8")
    table = re.findall(r"^(\S[^\n]*?) ([125]e-[56]) (\d+) (\d+) (\d+)$", text, re.MULTILINE)
    assert len(table) == 8
    recipes = {
        load_recipe(name).title.split(",")[0]: name for name in recipe_names() if load_recipe(name).run == "rank"
    }
    for row, rate, epochs, batch, warmup in table:
        name = recipes[re.sub(r"^Tuna (c|p|cp)(?=$|-)", r"Tuna_\1", row)]
        settings = {key: setting.value for key, setting in load_recipe(name).settings.items()}
        assert settings["learning_rate"] == float(rate), name
        assert settings["epochs"] == int(epochs)
        assert settings["batch_size"] == int(batch)
        assert settings["optimizer.warmup_steps"] == int(warmup)


def test_every_trained_row_of_the_papers_tables_has_a_recipe(shared: Path) -> None:
    text = (shared / "paper" / "tuna_2310.13385.txt").read_text(encoding="utf-8")
    rows = set(re.findall(r"^((?:Alpaca|Tuna|mix-Tuna)[^\n]*?) \d\d\.\d ", text, re.MULTILINE))
    found = {
        row.replace("_", " ").replace(" (", "(") for name in recipe_names() for row in load_recipe(name).rows.values()
    }
    assert len(rows) == 15
    assert {row.replace(" (", "(") for row in rows} <= found


def test_tuna_is_made_from_tuna_p_which_is_made_from_alpaca() -> None:
    names = planned("tuna")
    assert [n for n in names if load_recipe(n).run in CONFIGS] == ["alpaca", "tuna_p", "tuna"]
    last = plan("tuna", choose_parameters(GIVEN), OUT)[-1]
    assert values(last.command)["model"] == "out/tuna_p"


def test_a_sweep_makes_what_its_variants_share_once() -> None:
    names = planned("lambda_sweep")
    assert names.count("contextual_13k") == 1
    assert [n for n in names if n.startswith("tuna_c")] == [
        "tuna_c+mle_weight=0.0",
        "tuna_c+mle_weight=0.1",
        "tuna_c",
        "tuna_c+mle_weight=5.0",
        "tuna_c+mle_weight=10.0",
    ]


def test_the_beta_sweep_pays_the_teacher_once() -> None:
    steps = plan("beta_sweep", choose_parameters(GIVEN), OUT)
    assert sum(step.command[:2] == ("data", "teacher") for step in steps) == 1
    assert sum(step.command[0] == "nll" for step in steps) == 6


def test_the_point_without_ranking_data_is_alpaca() -> None:
    names = planned("data_amount_sweep")
    assert names[0] == "alpaca"
    assert [n for n in names if n.startswith("tuna_p")] == ["tuna_p+amount=13000", "tuna_p+amount=24000", "tuna_p"]


def test_an_artefact_that_is_there_is_not_made() -> None:
    assert planned("tuna", "tuna_p=checkpoints/tuna_p") == ["tuna_p_samples", "contextual_tuna_p_13k", "tuna"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["recipe", "show", "tunap"], "did you mean tuna_p?"),
        (["recipe", "run", "tuna", "--dry-run"], "the parameter instructions is needed"),
        (["recipe", "run", "tuna", "bace=x", "--dry-run"], "did you mean base?"),
        (["recipe", "run", "tuna", "instructions", "--dry-run"], "not name=value"),
        (["recipe", "show", "tuna_p", "beta=high"], "'high' is no number"),
        (["recipe", "run", "alpaca", "instructions=none.json"], "no such file: none.json"),
        (["recipe", "run", "alpaca", "instructions=none.json", "--dry-run"], "no such file: none.json"),
        (["recipe", "show", "lambda_sweep", "mle_weight=7"], "lambda_sweep varies mle_weight"),
        (["recipe", "show", "data_amount_sweep", "tuna_p=PATH"], "makes tuna_p"),
    ],
)
def test_a_mistake_is_one_line(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_show_tells_settings_places_and_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipe", "show", "mix_tuna_104k"]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"learning_rate +5e-06 +Table 7", shown)
    assert "tuna-train data mix" in shown
    assert "<instructions>" in shown


def test_a_dry_run_prints_what_could_be_typed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "i.json").touch()
    words = [f"instructions={tmp_path / 'i.json'}", "--out", str(tmp_path / "out"), "--dry-run", "--set", "epochs=2"]
    assert main(["recipe", "run", "--set", "micro_batch=4", "alpaca", *words]) == 0
    assert re.fullmatch(r"tuna-train sft .* micro_batch=4 epochs=2\n", capsys.readouterr().out)
    assert main(["recipe", "run", "alpaca", *words, "--launcher", "torchrun --nproc_per_node 2"]) == 0
    assert capsys.readouterr().out.startswith("torchrun --nproc_per_node 2 -m tuna_train.cli sft ")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "words", "message"),
    [
        ("tuna", ["--set", "micro_bach=4"], "unknown key 'micro_bach'; did you mean micro_batch?"),
        ("tuna", ["--set", "micro_bach=4", "--dry-run"], "unknown key 'micro_bach'; did you mean micro_batch?"),
        ("tuna", ["--set", "lora.rnk=4"], "unknown key 'rnk'; did you mean rank?"),
        ("tuna", ["--set", "micro_batch=four"], "micro_batch: 'four': "),
        ("tuna", ["--set", "micro_batch"], "not key=value: micro_batch"),
        ("alpaca", ["--set", "loss.margin=1"], "unknown key 'loss'"),
        ("teacher_responses", ["--set", "micro_batch=4"], "no step is a training; leave it out"),
    ],
)
def test_a_wrong_set_is_told_before_the_first_step(
    name: str, words: list[str], message: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "i.json").touch()
    given = [f"instructions={tmp_path / 'i.json'}", "--out", str(tmp_path / "out")]
    assert main(["recipe", "run", name, *given, *words]) == 2
    error = capfd.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_setting_goes_to_the_trainings_that_know_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "i.json").touch()
    words = ["tuna", f"instructions={tmp_path / 'i.json'}", "--set", "loss.margin=0.2", "--set", "seed=7", "--dry-run"]
    assert main(["recipe", "run", *words]) == 0
    trainings = [line for line in capsys.readouterr().out.splitlines() if "seed=7" in line]
    told = [(line.split()[1], line.endswith("loss.margin=0.2 seed=7")) for line in trainings]
    assert told == [("sft", False), ("rank", True), ("rank", True)]


def test_a_folder_keeps_the_parameters_it_was_begun_with(tmp_path: Path) -> None:
    keep_parameters(tmp_path, choose_parameters([*GIVEN, "base=a"]))
    keep_parameters(tmp_path, choose_parameters([*GIVEN, "base=a", "beta=1.0"]))
    with pytest.raises(ConfigError, match="base is 'b' now and was 'a'"):
        keep_parameters(tmp_path, choose_parameters([*GIVEN, "base=b"]))


def test_parameters_have_sources() -> None:
    assert all(len(parameter.place) > 10 for parameter in shared().parameters.values())


def test_a_recipe_is_run_and_run_again(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    answers = tmp_path / "answers #1.jsonl"
    write_ranked(answers, [RankedExample(str(n), f"Name the colour {n}.", original="Blue.") for n in range(3)])
    command = ["recipe", "run", "probabilistic_first_13k", f"probabilistic={answers}", "--out", str(tmp_path / "out")]
    assert main(command) == 0
    assert len(list(read_ranked(tmp_path / "out" / "probabilistic_first_13k.jsonl"))) == 3
    assert main(command) == 0
    assert "made before" in capfd.readouterr().err
    assert main([*command[:3], "probabilistic=other.jsonl", *command[4:]]) == 2
    assert "probabilistic is 'other.jsonl' now and was" in capfd.readouterr().err
