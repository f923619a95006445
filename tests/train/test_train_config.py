"""What a training is told, and every mistake in it that is found before a model loads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ranked_files import write_examples

from tiny_models import save_model
from tuna_eval.errors import ConfigError, DataError, TunaError
from tuna_eval.llm.models import resolve_model
from tuna_train.config import RankConfig, RlConfig, SftConfig, Training, build_config, describe, read_config
from tuna_train.packing import TokenizedInstruction
from tuna_train.training.build import fitting_micro_batch, share, training_arguments
from tuna_train.training.checks import check_model, check_settings
from tuna_train.training.inputs import forward_tokens
from tuna_train.training.record import settings_of
from tuna_train.training.resuming import claim

NEEDED = ["model=demo", "data=a.json", "output=out"]


def config(**values: Any) -> RankConfig:
    return build_config(RankConfig, {"model": "demo", "data": "a.json", "output": "out", **values}, "test")


def test_assignments_replace_single_values_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "tuna.yaml"
    file.write_text("model: demo\ndata: [a.json, b.json]\noutput: out\nloss: {margin: 0.2}\nbatch_size: 64\n")
    read = read_config(RankConfig, file, ["loss.mle_weight=0.5", "batch_size=32", "lora.rank=4"])
    assert (read.loss.margin, read.loss.mle_weight, read.batch_size) == (0.2, 0.5, 32)
    assert read.lora is not None
    assert read.lora.rank == 4
    assert read.data == (Path("a.json"), Path("b.json"))


def test_one_path_stands_for_a_list_of_one() -> None:
    read = read_config(SftConfig, None, [*NEEDED, "eval_data=h.json", "report_to=tensorboard"])
    assert read.data == (Path("a.json"),)
    assert read.eval_data == (Path("h.json"),)
    assert read.report_to == ("tensorboard",)


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("learning_rat=1e-5", "unknown key 'learning_rat'; did you mean learning_rate?"),
        ("loss.margn=1", "unknown key 'margn'; did you mean margin?"),
        ("learning_rate=-1", "learning_rate: -1: input should be greater than 0"),
        ("precision=int3", "precision"),
        ("batch_size", "not key=value: 'batch_size'"),
        ("loss.margin.x=1", "loss.margin"),
        ("data=[]", "data"),
        ("max_length=[", "not a YAML value"),
    ],
)
def test_a_wrong_key_or_value_is_told_with_its_place(assignment: str, message: str) -> None:
    with pytest.raises(ConfigError) as told:
        read_config(RankConfig, None, [*NEEDED, assignment])
    assert message in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("assignments", "place"),
    [
        (["learning_rat=1e-5"], "command line: learning_rat: unknown key"),
        (["batch_size=0"], "command line: batch_size: 0"),
        (["eval_data=[1]"], "command line: eval_data.0: 1"),
        (["lr.x=1"], "command line: lr: unknown key"),
        (["batch_size=8", "loss.mle_weight=1"], "FILE: loss.margin: -1"),
        (["loss.margin=-2"], "command line: loss.margin: -2"),
    ],
)
def test_a_mistake_is_looked_for_where_it_was_made(tmp_path: Path, assignments: list[str], place: str) -> None:
    file = tmp_path / "tuna.yaml"
    file.write_text("model: demo\ndata: a.json\noutput: out\nloss: {margin: -1}\n")
    sound = [] if "margin" in place else ["loss.margin=1"]
    with pytest.raises(ConfigError) as told:
        read_config(RankConfig, file, [*sound, *assignments])
    assert str(told.value).startswith(place.replace("FILE", str(file)))


def test_options_of_a_gates_runs_may_be_numbers(tmp_path: Path) -> None:
    file = tmp_path / "tuna.yaml"
    file.write_text("gate:\n  baseline: main\n  suites: superni\n  run_options: [--limit, 3, --gpu-memory, 0.5]\n")
    read = read_config(RankConfig, file, NEEDED)
    assert read.gate is not None
    assert read.gate.run_options == ("--limit", "3", "--gpu-memory", "0.5")
    read = read_config(RankConfig, file, [*NEEDED, "gate.run_options=[--limit, 4]"])
    assert read.gate is not None
    assert read.gate.run_options == ("--limit", "4")
    with pytest.raises(ConfigError, match=r"command line: gate\.run_options\.0: True: input should"):
        read_config(RankConfig, file, [*NEEDED, "gate.run_options=[true]"])


def test_paths_and_names_are_taken_as_they_are_written() -> None:
    words = ["model=007", "data=a: b.json", "output=X #2", "name=on", "deepspeed=null", "eval_data=[h.json, i.json]"]
    read = read_config(RankConfig, None, [*words, "lora.target_modules=[q, v]", "packing=off", "max_steps=null"])
    assert (read.model, read.data, read.output, read.name) == ("007", (Path("a: b.json"),), Path("X #2"), "on")
    assert read.eval_data == (Path("h.json"), Path("i.json"))
    assert (read.deepspeed, read.max_steps, read.packing) == (None, None, False)
    assert read.lora is not None
    assert read.lora.target_modules == ("q", "v")
    assert read_config(RankConfig, None, [*NEEDED, 'output="X #2"']).output == Path("X #2")


@pytest.mark.parametrize(
    "assignment", ["learning_rate=.inf", "epochs=inf", "loss.margin=.nan", "optimizer.betas=[.nan, 1]"]
)
def test_numbers_are_finite(assignment: str) -> None:
    with pytest.raises(ConfigError, match="input should be a finite number"):
        read_config(RankConfig, None, [*NEEDED, assignment])


def test_a_missing_value_and_a_broken_file_are_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"model: a value is missing; set model=\.\.\."):
        read_config(RankConfig, None, NEEDED[1:])
    with pytest.raises(ConfigError, match="cannot be read"):
        read_config(RankConfig, tmp_path / "none.yaml")
    (tmp_path / "list.yaml").write_text("- a\n")
    with pytest.raises(ConfigError, match="holds no keys"):
        read_config(RankConfig, tmp_path / "list.yaml")


@pytest.mark.parametrize("kind", [SftConfig, RankConfig])
def test_every_key_is_described_with_its_default_and_source(kind: type[Training]) -> None:
    text = describe(kind)
    assert all(f"  {name}" in text for name in kind.model_fields)
    lines = {line.split()[0]: line for line in text.splitlines()}
    assert "2e-05" in lines["learning_rate"] or kind is RankConfig
    assert "(required)" in lines["model"]
    assert "cosine" in lines["optimizer.schedule"]
    assert "none" in lines["lora.quantize"]
    if kind is RankConfig:
        assert "Table 7" in lines["loss.margin"]


def test_the_papers_numbers_are_the_defaults() -> None:
    one = config()
    assert (one.loss.margin, one.loss.mle_weight, one.batch_size, one.epochs) == (0.1, 1.0, 128, 1.0)
    assert (one.optimizer.warmup_steps, one.optimizer.schedule, one.max_length) == (2, "cosine", 512)
    assert read_config(SftConfig, None, NEEDED).learning_rate == 2e-5


def test_a_step_is_shared_out_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    assert share(config(batch_size=8, micro_batch=2)) == 8
    with pytest.raises(ConfigError, match=r"micro_batch: 8 .* no multiple of 3; use one of 1, 2, 4, 8"):
        share(config(batch_size=8, micro_batch=3))
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(ConfigError, match="8 instructions cannot be shared by 3 processes"):
        share(config(batch_size=8))
    assert share(config(batch_size=12)) == 4


def test_a_forward_pass_takes_as_many_instructions_as_fill_a_row() -> None:
    assert fitting_micro_batch(config(batch_size=16, row_tokens=1000), tokens=250.0) == 4
    assert fitting_micro_batch(config(batch_size=16, row_tokens=1000), tokens=10.0) == 16
    assert fitting_micro_batch(config(batch_size=16, row_tokens=1000), tokens=5000.0) == 1
    assert fitting_micro_batch(config(batch_size=16, row_tokens=1000, micro_batch=8), tokens=5000.0) == 8


def test_a_padded_prompt_counts_for_every_response() -> None:
    one = TokenizedInstruction("1", range(100), [range(10), range(30)], [0, 1], range(20))
    two = TokenizedInstruction("2", range(50), [], [], range(50))
    assert forward_tokens([one, two], packed=True) == (160 + 100) / 2
    assert forward_tokens([one, two], packed=False) == (3 * 130 + 100) / 2


def test_arguments_of_transformers(tmp_path: Path) -> None:
    made = training_arguments(
        config(output=str(tmp_path / "out"), batch_size=8, micro_batch=2, gradient_checkpointing=True, save_steps=5)
    )
    assert made.per_device_train_batch_size * made.gradient_accumulation_steps == 8
    assert (made.learning_rate, made.warmup_steps, made.weight_decay) == (1e-5, 2, 0.0)
    assert made.lr_scheduler_type == "cosine"
    assert (made.save_strategy, made.save_steps, made.save_total_limit) == ("steps", 5, 1)
    assert made.gradient_checkpointing
    assert made.gradient_checkpointing_kwargs == {"use_reentrant": False}
    assert (made.report_to, made.push_to_hub, made.remove_unused_columns) == ([], False, False)
    assert made.output_dir == str(tmp_path / "out" / "checkpoints")
    kept, none = training_arguments(config()), training_arguments(config(save_steps=None))
    assert (kept.save_strategy, kept.save_steps, none.save_strategy) == ("steps", 100, "no")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"data": "none.jsonl"}, "none.jsonl: cannot be read (No such file or directory)"),
        ({"data": "."}, "is a folder"),
        ({"eval_data": "none.jsonl"}, "none.jsonl: cannot be read"),
        ({"output": "a.jsonl"}, "output: a.jsonl: is a file"),
        ({"output": "a.jsonl/out"}, "cannot be written"),
        ({"precision": "float16"}, "precision: float16 needs a GPU"),
        ({"lora": {"quantize": "4bit"}}, "lora.quantize: 4bit weights need a GPU"),
        ({"deepspeed": "zero2.json"}, "the package deepspeed is not installed"),
        ({"deepspeed": "zero3.json"}, "zero3.json: ZeRO stage 3 scatters the LM head's weight; set packing=false"),
        ({"deepspeed": "zero3.json", "packing": False}, "the package deepspeed is not installed"),
        ({"deepspeed": "a.jsonl"}, "deepspeed: a.jsonl: not JSON"),
        ({"deepspeed": "none.json"}, "none.json: cannot be read"),
        ({"deepspeed": "a.jsonl", "fsdp": True}, "both fsdp and deepspeed"),
        ({"fsdp": True}, "one process has nothing to shard with; start torchrun"),
        ({"report_to": "wandb"}, "the package wandb is not installed"),
    ],
)
def test_settings_that_cannot_run_are_told_before_the_model_loads(
    values: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_examples(Path("a.jsonl"), 2)
    for stage in (2, 3):
        Path(f"zero{stage}.json").write_text(json.dumps({"zero_optimization": {"stage": stage}}))
    with pytest.raises(TunaError) as told:
        check_settings(config(**{"data": "a.jsonl", **values}))
    assert message in str(told.value)


def test_sound_settings_pass(tmp_path: Path) -> None:
    file = write_examples(tmp_path / "a.jsonl", 2)
    check_settings(config(data=str(file), output=str(tmp_path / "new" / "out"), report_to="tensorboard"))


def test_a_model_that_cannot_be_trained_so_is_told_by_its_config_file(tmp_path: Path) -> None:
    gpt2 = resolve_model(str(save_model(tmp_path / "gpt2", "gpt2")))
    with pytest.raises(ConfigError, match="'gpt2' models cannot be packed; set packing=false"):
        check_model(config(), gpt2)
    check_model(config(packing=False), gpt2)
    with pytest.raises(ConfigError, match="'t5' is an encoder-decoder"):
        check_model(config(), resolve_model(str(save_model(tmp_path / "t5", "t5"))))


def test_an_output_belongs_to_one_run(tmp_path: Path) -> None:
    claim(tmp_path / "out", {"command": "rank", "seed": 0})
    claim(tmp_path / "out", {"command": "rank", "seed": 1})  # the first came to nothing that could be lost
    checkpoint = tmp_path / "out" / "checkpoints" / "checkpoint-3"
    checkpoint.mkdir()
    (checkpoint / "trainer_state.json").write_text('{"global_step": 3')  # torn: no checkpoint
    claim(tmp_path / "out", {"command": "rank", "seed": 0})
    assert not checkpoint.exists()
    checkpoint.mkdir()
    (checkpoint / "trainer_state.json").write_text('{"global_step": 3}')
    with pytest.raises(ConfigError, match="holds another run, which differs in seed; choose another folder"):
        claim(tmp_path / "out", {"command": "rank", "seed": 1})
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"holds a model already \(config.json\)"):
        claim(tmp_path / "model", {"command": "rank"})


def test_a_record_names_no_folder(tmp_path: Path) -> None:
    values = {"model": str(tmp_path), "data": "d/a.json", "output": "o", "reward": str(tmp_path / "prm")}
    (tmp_path / "prm").mkdir()
    settings = settings_of(build_config(RlConfig, values, "test"))
    assert (settings["model"], settings["reward"], settings["data"]) == (tmp_path.name, "prm", ["a.json"])


def test_data_errors_name_the_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is a folder"):
        check_settings(config(data=str(tmp_path), output=str(tmp_path / "out")))
