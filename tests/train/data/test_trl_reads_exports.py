"""TRL's own trainers take what is exported for them, as it is."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from tiny_models import save_model
from tuna_train.data.export import ExportOptions, write_export
from tuna_train.data.ranked import Candidate, RankedExample

pytestmark = pytest.mark.model

EXAMPLES = [
    RankedExample(
        str(n),
        "Write the word that comes after the longest word.",
        "the cat sat",
        candidates=tuple(Candidate(text, rank=rank) for rank, text in enumerate(("sat", "cat", "the cat sat"))),
    )
    for n in range(2)
]


@pytest.mark.parametrize("prompt", ["alpaca", "messages"])
@pytest.mark.parametrize("to", ["dpo", "trl-reward"])
def test_a_step_is_trained(to: str, prompt: Any, tmp_path: Path) -> None:
    from datasets import load_dataset
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer
    from trl import DPOConfig, DPOTrainer, RewardConfig, RewardTrainer

    model = save_model(tmp_path / "model", has_template=True)
    file = tmp_path / "pairs.jsonl"
    assert write_export(file, EXAMPLES, to, ExportOptions(prompt=prompt)).records == 6
    data = load_dataset("json", data_files=str(file), split="train", cache_dir=str(tmp_path / "cache"))
    settings: dict[str, Any] = {
        "output_dir": str(tmp_path / "out"),
        "max_steps": 1,
        "per_device_train_batch_size": 6,
        "report_to": [],
        "use_cpu": True,
        "bf16": False,
        "save_strategy": "no",
    }
    tokenizer = AutoTokenizer.from_pretrained(model)
    if to == "dpo":
        trainer: Any = DPOTrainer(
            AutoModelForCausalLM.from_pretrained(model),
            args=DPOConfig(**settings),
            train_dataset=data,
            processing_class=tokenizer,
        )
    else:
        trainer = RewardTrainer(
            AutoModelForSequenceClassification.from_pretrained(model, num_labels=1),
            args=RewardConfig(**settings),
            train_dataset=data,
            processing_class=tokenizer,
        )
    loss = trainer.train().training_loss
    assert math.isfinite(loss)
    if to == "dpo":
        assert loss == pytest.approx(math.log(2), rel=1e-3)  # of a policy that is still its own reference
