# Chores. The development environment of README.md must be active.

.PHONY: check lint format types fast test ci bench figures

check: lint fast       ## the default: lint, then the fast tests

lint:                  ## ruff (style, docstrings, names, formatting) and mypy --strict
	ruff check .
	ruff format --check .
	mypy

format:                ## apply ruff's fixes and formatting
	ruff check --fix .
	ruff format .

fast:                  ## the tests that are not marked slow, about a minute
	python -m pytest -n auto -m "not slow"

test:                  ## every test
	python -m pytest -n auto

ci:                    ## what the workflow runs: README's development block, lint, training, wheel
	.ci/run

bench:                 ## seconds per stage, and wall time with peak memory
	python benchmarks/speed.py
	python benchmarks/memory.py --effort 1

figures:               ## the pictures of the README, from docs/figures.md and one photograph
	python scripts/make_figures.py
