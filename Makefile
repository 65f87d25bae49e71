# The two commands are `make app` and `make test`. What they set up, and how, is in .ci/setup.

PYTHON  ?=
PORT    ?= 8501
ADDRESS ?= 127.0.0.1
ARGS    ?=
DOCKER  ?= docker

export PYTHON

.PHONY: help app test check soak screenshots bench lint lock docker clean

help:
	@echo "make app    set everything up and serve the app on http://$(ADDRESS):$(PORT)  (PORT=, ADDRESS=)"
	@echo "make test   set everything up and run all tests                       (ARGS=\"-k schedule\")"
	@echo "make check  the linter, and every test that is quick, in two minutes"
	@echo "make soak   the long tests: more hostile input, 500 reruns of every page, 20 visitors for ten minutes"
	@echo "make screenshots  pictures of every page, in light and dark, wide and narrow, in screenshots/"
	@echo "make bench  measure ours beside its peers, and print one table        (ARGS=\"--quick\")"
	@echo "make lint   check the code with ruff"
	@echo "make lock   write requirements.lock anew, the exact packages of the container"
	@echo "make docker build the container ddpm-lab and say how to run it        (DOCKER=podman)"
	@echo "make clean  remove .venv and the caches; outputs/ and data/ stay"
	@echo "PYTHON=/path/to/python chooses the Python (3.11 to 3.14) that .venv is built with."

app:
	@bash .ci/setup app
	@exec .venv/bin/python -m streamlit run streamlit_app.py --server.address="$(ADDRESS)" --server.port="$(PORT)" $(ARGS)

# Several processes compute at once here. A thread that spins while it waits for another, as OpenMP's do, then keeps that
# one from its core: a call of the network took up to 80 times as long.
test: export OMP_WAIT_POLICY = PASSIVE
test:
	@bash .ci/setup dev
	@bash .ci/setup browser
	@.venv/bin/python -m pytest -n logical --maxprocesses=4 --dist=worksteal $(ARGS)

check: export OMP_WAIT_POLICY = PASSIVE
check:
	@bash .ci/setup dev
	@.venv/bin/python -m ruff check --quiet
	@.venv/bin/python -m pytest -n logical --maxprocesses=4 --dist=worksteal -m "not browser and not slow" $(ARGS)

soak: export OMP_WAIT_POLICY = PASSIVE
soak:
	@bash .ci/setup dev
	@bash .ci/setup browser
	@DDPM_SOAK=1 .venv/bin/python -m pytest -n 2 tests/test_hostile.py tests/test_damaged.py tests/test_image_files.py tests/test_compiled.py tests/test_forged.py tests/browser/test_soak.py $(ARGS)
	@.venv/bin/python -m benchmarks.public --minutes 10

screenshots:
	@bash .ci/setup dev
	@bash .ci/setup browser
	@.venv/bin/python -m tests.browser.screenshots $(ARGS)

bench:
	@bash .ci/setup bench
	@.venv/bin/python -m benchmarks $(ARGS)

lint:
	@bash .ci/setup dev
	@.venv/bin/python -m ruff check

lock:
	@bash .ci/setup dev
	@bash .ci/lock

docker:
	$(DOCKER) build --tag ddpm-lab .
	@echo "Run it, then open http://$(ADDRESS):$(PORT); the volume keeps the runs:"
	@echo "  $(DOCKER) run --rm --publish $(ADDRESS):$(PORT):8501 --volume ddpm-outputs:/home/user/app/outputs ddpm-lab"

clean:
	@bash .ci/setup clean
	@rm -rf .pytest_cache .ruff_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
