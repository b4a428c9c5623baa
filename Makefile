# Two commands: `make demo` and `make test`. Everything lives in .venv; a second run sets nothing up again.
PYTHON ?= python3
TORCH ?= torch
VENV := .venv
# The documentation's site has an environment of its own: it needs neither torch nor this package.
DOCS := .venv-docs
BIN := $(VENV)/bin
CONFIG := examples/retinanet/retinanet_r50_fpn.py

# The OpenMMLab packages do not state what they need in a way that pip can meet beside a recent torch.
PEERS := -r tests/peers/requirements.txt

# make test-peers GROUP=NAME: without a name the core, which .ci/run runs; a part of it; or a folder of tests/groups,
# whose packages need an environment of their own, .venv-NAME.
GROUP ?=
PARTS := mm hf lightning
GROUPS := $(notdir $(patsubst %/requirements.txt,%,$(wildcard tests/groups/*/requirements.txt)))
ifneq ($(filter-out $(PARTS) $(GROUPS),$(GROUP)),)
$(error There is no group $(GROUP) of peers. There are $(PARTS) $(GROUPS); and without GROUP, the core)
endif

.PHONY: demo dev test test-peers browser bench bench-table check docs kernel clean

demo: $(VENV)/.installed
	$(BIN)/initcfg plan $(CONFIG)
	$(BIN)/initcfg init $(CONFIG) -o retinanet.safetensors --seed 0
	$(BIN)/initcfg explain $(CONFIG) bbox_head.retina_cls.bias

# What tests and checks need, and nothing run.
dev: $(VENV)/.installed-dev

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest

ifneq ($(filter $(GROUPS),$(GROUP)),)
test-peers: $(VENV)-$(GROUP)/.installed
	$(VENV)-$(GROUP)/bin/python -m pytest tests/groups/$(GROUP) -m group
else
test-peers: $(VENV)/.installed-peers $(if $(GROUP),,browser $(DOCS)/.installed)
	$(BIN)/python -m pytest $(if $(GROUP),tests/peers,tests) -m "peers$(if $(GROUP), and $(GROUP))"
endif

# Pages are tested in a real Chromium: Debian's package, where apt is at hand and may be used. Elsewhere those
# tests fail, and say what to install.
browser:
	@for each in $(CHROMIUM) chromium chromium-browser google-chrome; do command -v $$each > /dev/null && exit 0; done; \
	test "$$(id -u)" = 0 && command -v apt-get > /dev/null || exit 0; \
	apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium \
	|| echo "Chromium could not be installed: the tests of pages in a browser will fail."

# The short benchmarks, in less than five minutes, beside the ratios that were kept; KEEP=1 keeps these.
bench: $(VENV)/.installed-dev
	$(BIN)/python benchmarks/short.py $(if $(KEEP),--keep)

# The table of speed: each work beside its limit and its peer, in one run of a quarter of an hour. It needs the peers,
# 24 GB of memory and 10 GB of disk.
bench-table: $(VENV)/.installed-peers
	$(BIN)/python benchmarks/short.py --long
	$(BIN)/python benchmarks/build.py --runs 3
	$(BIN)/python benchmarks/trace.py --repeats 1
	$(BIN)/python benchmarks/loading.py --repeats 1 --kinds "one file" --ways limit from_pretrained initcfg "initcfg(copy=False)"
	$(BIN)/python benchmarks/streaming.py --shape 1b --repeats 3 --no-kill

# Of Rust: nothing of its library that is newer than the compiler which rust/Cargo.toml asks for.
check: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports
	if command -v cargo > /dev/null; then cd rust && cargo fmt --check && cargo test --quiet --release --locked; fi
	if cargo clippy --version > /dev/null 2>&1; then cd rust && cargo clippy --quiet --release --locked -- -A clippy::all -D clippy::incompatible_msrv; fi

# The documentation as a site, into site/. A warning stops it.
docs: $(DOCS)/.installed
	$(DOCS)/bin/python tools/site/build.py

# The library of the fast random stream, for this machine. The running Python may have the old one mapped,
# so the new one replaces it in one step.
kernel:
	cargo build --release --manifest-path rust/Cargo.toml
	cp "$$(ls -t rust/target/release/*initcfg_kernel.so rust/target/release/*initcfg_kernel.dylib 2>/dev/null | head -1)" src/initcfg/_kernel.new
	mv src/initcfg/_kernel.new src/initcfg/_kernel.so

$(VENV)/.installed: pyproject.toml setup.py rust/build.rs $(wildcard rust/src/*.rs rust/src/*/*.rs)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade-strategy only-if-needed "$(TORCH)" -e .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet "$(TORCH)" -e ".[dev]"
	touch $@

$(VENV)/.installed-peers: $(VENV)/.installed-dev tests/peers/requirements.txt
	$(BIN)/python -m pip install --quiet --no-deps $(PEERS)
	touch $@

# Nothing that a group brings may bring another torch.
$(VENV)-%/.installed: tests/groups/%/requirements.txt pyproject.toml setup.py
	test -x $(VENV)-$*/bin/python || $(PYTHON) -m venv $(VENV)-$*
	$(VENV)-$*/bin/python -m pip install --quiet "$(TORCH)" -e . pytest
	$(VENV)-$*/bin/python -m pip install --quiet --no-deps -r $<
	touch $@

$(DOCS)/.installed: tools/site/requirements.txt
	test -x $(DOCS)/bin/python || $(PYTHON) -m venv $(DOCS)
	$(DOCS)/bin/python -m pip install --quiet --no-deps -r tools/site/requirements.txt
	touch $@

clean:
	rm -rf $(VENV) $(GROUPS:%=$(VENV)-%) $(DOCS) site rust/target build dist .pytest_cache .ruff_cache .hypothesis .import_linter_cache
