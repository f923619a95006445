"""The house as ARCHITECTURE describes it: who may see whom, what an import costs, and that importing does nothing."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
HEAVY = {
    "torch",
    "transformers",
    "vllm",
    "openai",
    "lm_eval",
    "bert_score",
    "scipy",
    "pandas",
    "rouge_score",
    "peft",
    "gguf",
    "matplotlib",
    "jinja2",
}

# A module sees only modules of a lower layer; inside one entry of L1 and L2 the files of a folder see each other.
LAYERS: list[set[str]] = [
    {"errors", "schema", "cache"},
    {"disk"},
    {"llm", "metrics", "datasets", "manifests", "download", "provenance"},
    {"judge"},
    {"tasks", "store", "judging_folder"},
    {"scoring", "run", "judging", "judging_cost", "judging_reparse", "judged_runs", "reviews", "checkpoints"},
    {"report", "console", "baselines"},
    {
        "commands",
        "data_commands",
        "judge_commands",
        "human_commands",
        "page_commands",
        "report_commands",
        "report_options",
        "cli",
        "gate_commands",
        "gate_options",
        "watch_commands",
    },
]
SIBLINGS = [
    {"datasets", "manifests", "download"},
    {"scoring", "run", "judging", "judging_cost", "judging_reparse", "judged_runs"},
    {
        "commands",
        "data_commands",
        "judge_commands",
        "human_commands",
        "page_commands",
        "report_commands",
        "report_options",
        "cli",
        "gate_commands",
        "gate_options",
        "watch_commands",
    },
]


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imports(file: Path) -> set[str]:
    """Every module a file imports, wherever the import stands."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


def unit(module: str) -> str | None:
    """The part of tuna_eval that a module belongs to: its file or folder directly below the package."""
    parts = module.split(".")
    return parts[1] if parts[0] == "tuna_eval" and len(parts) > 1 else None


def layer(name: str) -> int | None:
    return next((i for i, names in enumerate(LAYERS) if name in names), None)


def test_every_module_has_a_layer() -> None:
    units = {f.relative_to(ROOT / "tuna_eval").parts[0].removesuffix(".py") for f in modules("tuna_eval")} - {
        "__init__"
    }
    assert {u for u in units if layer(u) is None} == set()


@pytest.mark.parametrize("file", modules("tuna_eval"), ids=lambda f: str(f.relative_to(ROOT)))
def test_a_layer_sees_only_lower_layers(file: Path) -> None:
    own = file.relative_to(ROOT / "tuna_eval").parts[0].removesuffix(".py")
    own_layer = layer(own)
    for module in imports(file):
        other = unit(module)
        other_layer = layer(other) if other else None
        if other is None or other_layer is None or other == own or any({own, other} <= group for group in SIBLINGS):
            continue
        assert own_layer is not None
        assert other_layer < own_layer, f"{own} (layer {own_layer}) imports {module} (layer {other_layer})"


def test_measuring_never_needs_the_trainer() -> None:
    for file in modules("tuna_eval"):
        assert not {m for m in imports(file) if m.split(".")[0] == "tuna_train"}, file


def test_the_product_does_not_know_its_tests() -> None:
    for file in [*modules("tuna_eval"), *modules("tuna_train")]:
        text = file.read_text(encoding="utf-8")
        assert "tests" not in {m.split(".")[0] for m in imports(file)}, file
        assert "../shared" not in text, file


def test_init_files_hold_nothing_but_the_version() -> None:
    for file in [*modules("tuna_eval"), *modules("tuna_train")]:
        if file.name == "__init__.py":
            assert imports(file) == set(), file


def loaded_after(code: str) -> set[str]:
    probe = f"import sys; {code}; print(*{{m.split('.')[0] for m in sys.modules}})"
    result = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(result.stdout.split())


def test_importing_any_module_loads_nothing_heavy() -> None:
    names = []
    for file in modules("tuna_eval"):
        parts = file.relative_to(ROOT).with_suffix("").parts
        names.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    assert loaded_after("import " + ", ".join(names)) & HEAVY == set()


def test_importing_has_no_side_effect() -> None:
    code = (
        "import os, logging, threading;"
        "before = dict(os.environ), len(logging.root.handlers), threading.active_count();"
        "import tuna_eval.commands, tuna_eval.llm.factory, tuna_eval.tasks.catalog;"
        "after = dict(os.environ), len(logging.root.handlers), threading.active_count();"
        "assert before == after, (before, after)"
    )
    loaded_after(code)
