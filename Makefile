# Targets need Python 3.11 or newer and nothing else; the first one makes the environment.
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
export PYTHONUNBUFFERED := 1
# Idle threads sleep instead of spinning: several times faster when cores are shared.
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: install demo test test-full check docs format bench bench-data clean

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "error: Python 3.11 or newer is needed; say make PYTHON=/path/to/python3.11"; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,ecg]'
	@touch $@

# Processes that tests start read compiled modules, even where the environment forbids to write them.
TEST_ENV := OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE=

test: $(STAMP)
	$(TEST_ENV) $(BIN)/python -m pytest -n 2

# With what takes long: a hundred runs killed.
test-full: $(STAMP)
	$(TEST_ENV) $(BIN)/python -m pytest -n 2 --kills 100

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/codespell
	$(BIN)/hadolint Dockerfile
	$(DOCS) --quiet

docs: $(STAMP)
	$(DOCS)

DOCS := NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# The original is measured beside ours where its package can be had and there is memory for it.
bench: $(STAMP)
	$(BIN)/python -m data_prep.download llm smollm2-135m
	-$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --ignore-requires-python --upgrade \
		--target $(ORIGINAL) opentslm==0.1.0
	$(BIN)/python -m evaluation.bench --original $(ORIGINAL)

# Rows whose packages or recordings are missing say so and are skipped, hence the leading dashes.
bench-data: $(STAMP)
	-$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[peers]'
	-$(BIN)/python -m data_prep.download sleep-edf --subset sc4001 --out $(RAW)
	$(BIN)/python -m data_prep.realism.bench --raw_dir $(RAW)

ORIGINAL := build/original

# --- the demonstration: fetch, prepare, train four stages small, score a real night -------------
RAW := raw/sleep-edf
PREPARED := prepared
RUNS := results/demo
LAUNCH := $(BIN)/accelerate launch -q --num_processes 1 --num_machines 1 --mixed_precision no --dynamo_backend no \
	--num_cpu_threads_per_process $(shell getconf _NPROCESSORS_ONLN)
NUM_SUBJECTS := 48

demo: $(STAMP) $(PREPARED)/sleep_edf/participants.tsv $(PREPARED)/sim_human/participants.tsv \
		$(PREPARED)/mcq/test.parquet $(PREPARED)/captions/test.parquet $(PREPARED)/ecg_cot/test.parquet
	$(BIN)/python -m data_prep.download llm smollm2-135m
	$(LAUNCH) curriculum/train.py --config demo --resume \
		--stages stage0_encoder stage1_mcq stage2_captioning stage3_cot stage4_sleep_cot
	$(BIN)/tslm stage $(RAW)/SC4001E0-PSG.edf --expert $(RAW)/SC4001EC-Hypnogram.edf --model $(RUNS) --out $(RUNS)/staged
	$(BIN)/python -m evaluation.report $(RUNS)/smollm2-135m/soft_prompt/stage4_sleep_cot \
		--classifier $(RUNS)/no_llm/classifier/stage0_encoder --data $(PREPARED)/sleep_edf \
		--title 'A real night, staged and explained by a model trained on simulated ones'

$(RAW)/SC4001EC-Hypnogram.edf: | $(STAMP)
	$(BIN)/python -m data_prep.download sleep-edf --subset sc4001 --out $(RAW)

$(PREPARED)/sleep_edf/participants.tsv: $(RAW)/SC4001EC-Hypnogram.edf
	$(BIN)/python -m data_prep.prepare sleep_edf --out $(@D) raw_dir=$(RAW) rationale=brief

$(PREPARED)/sim_human/participants.tsv: | $(STAMP)
	$(BIN)/python -m data_prep.prepare sim_human --out $(@D) --workers 2 num_subjects=$(NUM_SUBJECTS) split=85/15/0 seed=0 \
		rationale=brief eog=true emg=true

$(PREPARED)/%/test.parquet: | $(STAMP)
	$(BIN)/python -m data_prep.prepare $* --out $(@D) num_train=400 num_val=64 num_test=128

clean:
	rm -rf $(PREPARED) $(RUNS) build dist site
