# Two commands do everything on a fresh machine with Python 3.11: make demo, make test. Either makes
# .venv first; `make setup` does that alone.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
READY := .venv/.ready

.PHONY: setup demo test check serve stop screenshots ablate ui pocket-report train-pocket bench-train \
	bench-train-gpu bench-objectives bench-own-object bench-words bench-context-free \
	bench-strong-grounding bench-assignments bench-curate bench-curate-gpu bench-backends bench-scale bench-evaluate bench-evaluate-gpu \
	bench-records bench-crashes bench-operate deploy lock format clean

setup: $(READY)  ## Make the environment .venv from the lock file: 7 GB, once

demo: $(READY)  ## Run the whole pipeline on the pocket world
	@$(BIN)/python -m flows reproduce --profile pocket

# Else the slow files, of one test each, would come last, and one of them alone: no reordering.
test: $(READY)  ## Run all tests
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile \
		--no-loadscope-reorder

check: $(READY)  ## Formatting, lint, types, import contracts
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

serve: $(READY)  ## Stand up server, worker, deployments and automations
	@$(BIN)/python -m flows serve

stop: $(READY)  ## End what `make serve` started
	@$(BIN)/python -m flows stop

screenshots: $(READY)  ## Renew the pictures of the UI in docs, see tests/take_screenshots.py
	@$(BIN)/python -m tests.take_screenshots

ablate: $(READY)  ## Train and compare variants of the method on the pocket world (about two hours)
	@$(BIN)/python -m flows ablate

ui: $(READY)  ## Open the Prefect server with all past runs
	@$(BIN)/python -m flows ui

pocket-report: $(READY)  ## Measure the pocket models against their floors
	@$(BIN)/python -m flows pocket-report

train-pocket: $(READY)  ## Train the pocket models from nothing (about two and three quarter hours)
	@$(BIN)/python -m flows train-pocket

bench-train: $(READY)  ## What grounding adds to a step of fine-tuning
	@$(BIN)/python benchmarks/train_step.py

bench-train-gpu: $(READY)  ## The same on a GPU, with larger models and batches
	@$(BIN)/python benchmarks/train_step_gpu.py

bench-objectives: $(READY)  ## What each objective does to attention and denoising
	@$(BIN)/python benchmarks/objectives.py

bench-own-object: $(READY)  ## Whether nouns look at their own objects, with the same models
	@$(BIN)/python benchmarks/own_object.py

bench-words: $(READY)  ## Which words of a caption the same models draw from
	@$(BIN)/python benchmarks/words.py

bench-context-free: $(READY)  ## Whether grounding moves MultiGen where only nouns know their objects (about an hour)
	@$(BIN)/python benchmarks/context_free.py

bench-strong-grounding: $(READY)  ## Whether MultiGen follows where nouns attend to their own objects (about an hour)
	@$(BIN)/python benchmarks/strong_grounding.py

bench-assignments: $(READY)  ## How well phrases get their masks, by the way boxes are assigned
	@$(BIN)/python benchmarks/assignments.py

bench-curate: $(READY)  ## Images a second from captions to masks, beside the released order and the limit
	@$(BIN)/python benchmarks/curate.py

bench-curate-gpu: $(READY)  ## The same on a GPU, with models of the published sizes
	@$(BIN)/python benchmarks/curate_gpu.py

bench-backends: $(READY)  ## Models of both packages with the same weights, and masks in fewer digits
	@$(BIN)/python benchmarks/backends.py

bench-scale: $(READY)  ## Seconds and memory of caption sets of up to a million rows
	@$(BIN)/python benchmarks/scale.py

bench-evaluate: $(READY)  ## Images a second from prompts to files, beside a plain loop and the limit
	@$(BIN)/python benchmarks/evaluate.py

bench-evaluate-gpu: $(READY)  ## The same on a GPU, with models of the published sizes
	@$(BIN)/python benchmarks/evaluate.py --device cuda

bench-records: $(READY)  ## Whether the server keeps every record of four busy flows, and what they cost
	@$(BIN)/python benchmarks/task_records.py

bench-crashes: $(READY)  ## Kill flow, worker and server, fill the disk, damage outputs (about an hour)
	@$(BIN)/python benchmarks/crash_matrix.py

bench-operate: $(READY)  ## Seconds and memory of plan, gc and verify on a set of a hundred thousand rows
	@$(BIN)/python -m benchmarks.operate_scale

deploy: $(READY)  ## Register pools, deployments and automations with a server that runs
	@$(BIN)/python -m flows deploy

lock: $(READY)  ## Resolve the lock file anew
	@$(BIN)/uv pip compile -q pyproject.toml --extra dev --no-header --no-annotate -o requirements.lock

format: $(READY)  ## Format and mend what can be mended
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

# An environment that is broken can stop nothing, and is removed all the same.
clean:  ## End what `make serve` started; remove the environment, the store and Prefect's files
	@if $(BIN)/python -c "import flows.serve" 2> /dev/null; then $(BIN)/python -m flows stop; fi
	rm -rf .venv .tokencompose .prefect

# uv takes the builds of torch and torchvision that belong together; plain pip may not. Compiled once, the
# packages are imported in a third of the time by every process, also where Python may write no bytecode.
$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info[:2] != (3, 11))" \
		|| { echo "Python 3.11 is needed; found: $$($(PYTHON) --version). Set PYTHON=..."; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@test -x $(BIN)/uv || $(BIN)/python -m pip install -q uv
	@$(BIN)/uv pip sync -q --compile-bytecode --python $(BIN)/python requirements.lock
	@$(BIN)/uv pip install -q --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $(READY)
