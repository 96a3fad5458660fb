# `make` lists the targets. They need Python 3.11 or newer. The first target that needs more installs
# requirements.lock into .venv, and again only when requirements.lock or pyproject.toml has changed.

PYTHON = python3.11 python3.12 python3.13 python3.14 python3 python
PRESET = microworld
FLICKR8K = _data/flickr8k
SECTIONS =
OPTIONS =
NOTEBOOKS = nbs/index.ipynb nbs/library nbs/paper nbs/beyond nbs/docs nbs/train
BENCHMARKS = similarity memory growth extraction align scale_out predictivity
BIN = .venv/bin
READY = .venv/.ready
# one test process per core, each with one thread, since threads within processes would wait for each other;
# the tests of a file share what is slow to make, so a file stays in one process
WORKERS = -n auto --maxprocesses 8 --dist loadfile
ALONE = OMP_NUM_THREADS=1 TQDM_DISABLE=1

# IN_TEST would make nbdev_export do nothing; PYTHONPATH could hide this package behind another one
unexport IN_TEST PYTHONPATH

.PHONY: help figures photographs test lint wheel bench rehearsal lab train export outputs site clean
.DELETE_ON_ERROR:

help: ## list these targets (the default)
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' Makefile

figures: $(READY) ## run the paper's sections and write their figures; SECTIONS=layers, PRESET=paper, OPTIONS="-p seed=7"
	$(BIN)/seeing-words figures $(SECTIONS) --preset $(PRESET) $(OPTIONS)

photographs: $(READY) ## real photographs and networks, then all sections (hours); FLICKR8K=folder of Flickr8k
	$(BIN)/python tools/photographs/get.py --flickr8k "$(FLICKR8K)" --out _data/photographs
	$(BIN)/seeing-words figures $(SECTIONS) --preset _data/photographs/photographs.toml

test: lint ## lint, then every test and every notebook (some minutes)
	$(ALONE) $(BIN)/python -m pytest $(WORKERS) --no-loadscope-reorder
	$(ALONE) $(BIN)/python -m pytest $(WORKERS) --nbval-lax $(NOTEBOOKS)

lint: $(READY) ## check style, formatting and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check nbs tests tools benchmarks setup.py
	$(BIN)/mypy

wheel: $(READY) ## build the wheel and the source distribution into dist/
	rm -rf build dist
	$(BIN)/python -c "from setuptools import build_meta; build_meta.build_sdist('dist')"
	$(BIN)/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .

bench: $(READY) ## run the benchmarks but full size, load and sections, and rewrite benchmarks/README.md (15 minutes)
	@for name in $(BENCHMARKS); do echo "== $$name"; $(BIN)/python benchmarks/$$name.py || exit 1; done

rehearsal: $(READY) ## run the paper on random networks of its formats and shapes (15 minutes, 10 GB)
	$(BIN)/python tests/support/rehearsal.py

lab: $(READY) ## open nbs/index.ipynb in JupyterLab
	JUPYTER_CONFIG_PATH=tools/lab $(BIN)/jupyter lab --ServerApp.root_dir=. nbs/index.ipynb

train: $(READY) ## train the networks of the microworld again and replace the shipped ones (hours)
	$(BIN)/seeing-words train --out _runs/train --snapshots _runs/train/steps
	cp -r _runs/train/vision-* _runs/train/llama-* _runs/train/bloom-* seeing_words/checkpoints/
	mkdir -p seeing_words/snapshots && cp _runs/train/steps/*.npz seeing_words/snapshots/

export: $(READY) ## write the package from the notebooks, clean the notebooks, write README.md
	$(BIN)/nbdev_export
	$(BIN)/nbdev_clean
	$(BIN)/python tools/readme.py

outputs: $(READY) ## run all notebooks in place and save their outputs, which the site, the README and nbval use
	TQDM_DISABLE=1 HF_HUB_DISABLE_PROGRESS_BARS=1 PYTHONWARNINGS="ignore:IProgress not found" \
		$(BIN)/jupyter execute --inplace --timeout=3600 $(shell find nbs -name "[!_.]*.ipynb" -not -path "*/.*" -not -name index.ipynb | sort)
	$(BIN)/jupyter execute --inplace nbs/index.ipynb
	$(BIN)/nbdev_clean
	$(BIN)/python tools/readme.py

site: $(READY) ## make the site in _docs/, with Quarto where it is installed (a minute or two)
	$(BIN)/python tools/site.py

clean: ## remove what runs and builds leave behind; .venv, figures and the feature store stay
	rm -rf _runs _proc _docs build dist .pytest_cache .ruff_cache .hypothesis
	find seeing_words tests tools benchmarks nbs -name __pycache__ -o -name .ipynb_checkpoints | xargs rm -rf

$(READY): requirements.lock pyproject.toml
	@new_enough() { "$$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }; \
	if ! { new_enough $(BIN)/python && $(BIN)/python -m pip --version >/dev/null 2>&1; }; then \
		for python in $(PYTHON) none; do new_enough "$$python" && break; done; \
		if [ "$$python" = none ]; then \
			echo "seeing_words needs Python 3.11 or newer; none of these is: $(PYTHON)." \
			     "Install one, or name it: make PYTHON=/path/to/python3.11" >&2; exit 1; \
		fi; \
		echo "Making .venv with $$("$$python" -V)"; \
		"$$python" -m venv --clear .venv || { \
			echo "$$python cannot make a virtual environment; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }; \
	fi
	@echo "Installing requirements.lock and seeing_words into .venv (some minutes the first time)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@
