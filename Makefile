# What the README tells a newcomer: `make demo`, `make test`. VENV may lie elsewhere.
VENV   ?= .venv
PYTHON ?= python3
DATA   ?= ../shared/data
PY     := $(VENV)/bin/python
STAMP  := $(VENV)/.installed
WORK   ?= build/bench
CORPUS ?= $(WORK)/corpus
WORKERS ?= logical
SHARE  ?= 0.2
PARTS  ?= all
STUDY  ?= build/study
STEPS  ?= all
# A file's tests stay in one process, which makes their fixtures once. Files are taken in order, the short ones of transforms
# last: by default those of the fewest tests come last, which here take longest.
PARALLEL := --numprocesses $(WORKERS) --maxprocesses 8 --dist loadfile --no-loadscope-reorder
TASKS  := sst2 sst5 trec ag_news mpqa tweet_emotion tweet_offensive tweet_sentiment tweet_hate hate_offensive tweet_emoji movie_reviews_long reuters_topics

.PHONY: help install demo test test-fast lint map docs bench figures study encoder heads clean
help:
	@echo "make demo     annotate examples/corpus with the bundled encoder and heads, show a table"
	@echo "make test     run all tests, one process a processor (WORKERS=$(WORKERS); 0: all in this process)"
	@echo "make test-fast  run the tests that take less than about 5 s each"
	@echo "make lint     check style, types and the import contract"
	@echo "make map      update the map of modules in CONTRIBUTING.md"
	@echo "make docs     build the documentation site in build/docs, check its links"
	@echo "make bench    measure all, side by side with others (PARTS=$(PARTS) CORPUS=$(CORPUS) DATA=$(DATA))"
	@echo "make figures  the same, and write the figures into README and docs"
	@echo "make study    measure what the method is worth, write docs/results.md (STEPS=$(STEPS) STUDY=$(STUDY) DATA=$(DATA))"
	@echo "make encoder  train the bundled encoder again     (DATA=$(DATA))"
	@echo "make heads    train the bundled heads again       (DATA=$(DATA))"
	@echo "make clean    remove $(VENV) and what demo wrote"

install: $(STAMP)
$(STAMP): setup.py constraints.txt
	test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --constraint constraints.txt --editable '.[test]'
	touch $@

demo: $(STAMP)
	$(PY) examples/demo.py

test: $(STAMP)
	$(PY) -m pytest $(PARALLEL)

test-fast: $(STAMP)
	$(PY) -m pytest $(PARALLEL) -m 'not slow'

lint: $(STAMP)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/lint-imports
	$(VENV)/bin/mypy

map: $(STAMP)
	$(PY) -m tests.module_map

docs: $(VENV)/.installed-docs
	$(PY) -m mkdocs build --strict

$(VENV)/.installed-docs: $(STAMP)
	$(PY) -m pip install --quiet --constraint constraints.txt --editable '.[docs]'
	touch $@

# All of it takes about 25 minutes on two slow cores. `make bench PARTS='encode label'` runs some of it.
bench: $(VENV)/.installed-bench | $(CORPUS)
	$(PY) -m benchmarks $(PARTS) --corpus $(CORPUS) --work $(WORK) --output $(WORK)/results.jsonl

# About half an hour on two cores. What was measured earlier stays, part by part, in docs/figures.json.
figures: $(VENV)/.installed-bench | $(CORPUS)
	rm -f $(WORK)/results.jsonl
	$(PY) -m benchmarks $(PARTS) --corpus $(CORPUS) --work $(WORK) --output $(WORK)/results.jsonl
	$(PY) -m benchmarks.page --results $(WORK)/results.jsonl

# Hours on two cores; not measured on a GPU. What was computed lies in STUDY: killed, the same command goes on from there.
study: $(VENV)/.installed-bench
	$(PY) -m study --data $(DATA) --work $(STUDY) --output docs --steps $(STEPS)

$(VENV)/.installed-bench: $(STAMP)
	$(PY) -m pip install --quiet --constraint constraints.txt --editable '.[bench]'
	touch $@

$(CORPUS): | $(STAMP)
	rm -rf $@.tmp
	$(PY) -m benchmarks.make_corpus --data $(DATA) --output $@.tmp --share $(SHARE)
	mv $@.tmp $@

# About half an hour on one slow core; killed, it goes on where it was.
encoder: $(STAMP)
	$(PY) -m pipelines.models.train_encoder --name default --layers 0 1 2 3 4 5 6 --train_layers 3 \
	  --tasks $(TASKS:%=$(DATA)/%) --unlabelled $(DATA)/gutenberg_paragraphs.parquet \
	  --patience 0 \
	  --output encoder/bundles/default --overwrite

# After `make encoder`: heads of another encoder are refused.
heads: $(STAMP)
	$(PY) -m pipelines.models.bundled_heads --data $(DATA)

clean:
	rm -rf $(VENV) demo-store
