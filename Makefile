# `make help` lists the targets. Everything here can also be run by hand: a recipe is one or a few plain commands.

cluster := tests/cluster
cache := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/eventbus

cargo_deny_version := 0.20.2
cargo_deny_root := $(cache)/cargo-deny-$(cargo_deny_version)
cargo_deny := $(cargo_deny_root)/bin/cargo-deny
rust_version := $(shell sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)

# What `make test` runs, cheapest first.
stages := setup check test-redis test-servers test-api test-cluster report
# The names of test files tell what they need: redis_ a redis-server; what api_ and cluster_ need is started by their
# targets, and without it those tests are ignored.
unit_tests := $(filter-out redis_%,$(notdir $(patsubst %/main.rs,%,$(wildcard tests/tests/*/main.rs))) \
	$(notdir $(basename $(wildcard tests/tests/*.rs))))

# make test-cluster TEST=word runs only the tests whose name contains the word; alike test-unit, test-redis,
# test-servers, test-api.
TEST :=

# Most tests wait for servers, so more of them run at once than there are cores.
export RUST_TEST_THREADS ?= 8

.PHONY: help demo seraaj report test check lint deny check-core advisories msrv fmt test-unit test-redis test-servers \
	test-api test-cluster test-outage test-memory bench images crds listings setup cluster-up cluster-down clean-cluster
# The targets share the machine's cores, its cargo and its one cluster.
.NOTPARALLEL:

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | while IFS='|' read -r target text; do \
		printf '  make %-14s %s\n' "$$target" "$$text"; done

demo: ## Show events flow on a real cluster (12 minutes the first time, then about 1)
	$(cluster)/demo

seraaj: ## Show the example platform lose its Redis, without a cluster; it runs on until Ctrl-C
	examples/seraaj/run

report: ## Run the example platform and print a report in JSON; an optimised build
	@PROFILE=release examples/seraaj/run --report

test: ## Run every stage up to the first failure: setup, check, the tests by what they need, report
	@for stage in $(stages); do \
		printf '\n==> stage %s\n' $$stage; \
		start=$$(date +%s); $(MAKE) --no-print-directory $$stage; status=$$?; seconds=$$(($$(date +%s) - start)); \
		printf '==> stage %s took %d:%02d min\n' $$stage $$((seconds / 60)) $$((seconds % 60)); \
		[ $$status = 0 ] || exit $$status; \
	done

check: lint deny check-core test-unit ## Run the first stage: lint, deny, check-core, test-unit

lint: ## Check the format, the code with clippy, its documentation, and the scripts with shellcheck
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings -D clippy::incompatible_msrv
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps
	shellcheck --external-sources --source-path SCRIPTDIR $$(git grep -lE '^#!.*bash|^# shellcheck shell=bash')

deny: $(cargo_deny) ## Check the licences, bans and sources of the dependencies: deny.toml
	$(cargo_deny) --locked check licenses bans sources

check-core: ## Check that eventbus-core compiles alone, with no features but its own
	cargo check --locked -p eventbus-core

advisories: $(cargo_deny) ## Check the dependencies for known flaws; downloads the list of them from GitHub
	$(cargo_deny) --locked check advisories

msrv: ## Check that all compiles with the oldest Rust supported, which rustup downloads
	rustup toolchain install $(rust_version) --profile minimal
	cargo +$(rust_version) check --locked --workspace --all-targets

fmt: ## Format the Rust code
	cargo fmt --all

test-unit: ## Run the tests that need no server, and those in the documentation
	cargo test --locked --workspace --lib --bins $(addprefix --test ,$(unit_tests)) -- $(TEST)
	cargo test --locked --workspace --doc -- $(TEST)

test-redis: ## Run the tests that need redis-server
	cargo test --locked --workspace --test 'redis_*' -- $(TEST)

# SERVERS="redis@experimental valkey@sid" takes others; a program of your own, such as redis-server, will do too.
test-servers: ## Run the Redis tests on other servers: Redis 8, Valkey
	tests/servers/test $(TEST)

test-api: ## Run the tests that need an API server
	$(cluster)/test api $(TEST)

test-cluster: ## Run the tests that need a whole cluster; KEEP_CLUSTER=1 leaves it running
	$(cluster)/test cluster $(TEST)

test-outage: ## Run the outbox through an outage of 2 minutes at 1,000 events a second
	OUTBOX_OUTAGE_SECONDS=120 cargo test --locked --workspace --test redis_outbox_outage -- --nocapture

test-memory: ## Measure the memory of a consumer with events of 1 MB and 16 MB; an optimised build
	cargo test --locked --release --workspace --test redis_cases -- a_consumer_keeps_to_its_budget --nocapture

bench: ## Compare the library with a raw client, as ratios; TEST=word runs only some rows
	cargo bench --locked --workspace --bench bus -- $(TEST)
	cargo bench --locked --workspace --bench outbox -- $(TEST)

images: ## Build the container images into target/images
	$(cluster)/build
	$(cluster)/images

listings: ## Renew the listings that the tests compare: the public API, documentation that begins with a question
	RENEW_LISTINGS=1 cargo test --locked --package tests --test structure

crds: ## Generate the resource definition from the operator's types
	cargo build --locked --workspace --bins
	"$${CARGO_TARGET_DIR:-target}/debug/operator" crd >crds/eventconsumergroups.yaml
	cp crds/eventconsumergroups.yaml charts/eventbus/files/

setup: ## Install what demo and tests need (Debian, Ubuntu), or name what is missing
	$(cluster)/setup
	tests/python/setup

cluster-up: ## Start the test cluster, or keep the one that runs
	$(cluster)/up

cluster-down: ## Stop the test cluster
	$(cluster)/down

clean-cluster: ## Stop the test cluster and the API server of test-api
	$(cluster)/down --control-plane
	$(cluster)/down

# Its own release profile optimises across all crates, which doubles the time to build and saves none here.
$(cargo_deny):
	@echo "==> building cargo-deny $(cargo_deny_version) (once; about 80 s on two cores)" >&2
	CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
		cargo install --quiet --locked --version $(cargo_deny_version) --root $(cargo_deny_root) cargo-deny
