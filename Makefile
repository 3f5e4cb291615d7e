# `make help` tells the targets. Everything here can also be run by hand: a recipe is one or a few plain commands.

cluster := tests/cluster
# make test-cluster TEST=word runs only the tests whose name contains the word; alike test-unit, test-redis,
# test-servers, test-api.
TEST :=

# Most tests wait for servers, so more of them run at once than there are cores.
export RUST_TEST_THREADS ?= 8

.PHONY: help demo seraaj report test test-unit test-redis test-servers test-api test-cluster test-outage bench fmt lint images crds \
	cluster-up cluster-down clean-cluster setup
# The targets share the machine's cores, its cargo and its one cluster.
.NOTPARALLEL:

help: ## Tell the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | while IFS='|' read -r target text; do \
		printf '  make %-14s %s\n' "$$target" "$$text"; done

demo: ## Watch events flow on a real cluster (12 minutes the first time, then about 1)
	$(cluster)/demo

seraaj: ## Watch the example platform lose its Redis, without a cluster; it runs on until Ctrl-C
	examples/seraaj/run

report: ## Try the example platform and tell in JSON what came of it; an optimised build
	@PROFILE=release examples/seraaj/run --report

test: setup lint ## Run everything: format, clippy, unit, Redis, other servers, API server, cluster, report
	cargo test --locked --workspace
	tests/servers/test
	$(cluster)/test api
	$(cluster)/test cluster
	@PROFILE=release examples/seraaj/run --report

test-unit: ## Run the tests that need nothing
	cargo test --locked --workspace --lib --bins -- $(TEST)

test-redis: ## Run the tests that need redis-server
	cargo test --locked --workspace --test 'redis_*' -- $(TEST)

# SERVERS="redis@experimental valkey@sid" takes others; a program of your own, such as redis-server, will do too.
test-servers: ## Run the Redis tests on other servers: Redis 8, Valkey
	tests/servers/test $(TEST)

test-api: ## Run the tests that need an API server
	$(cluster)/test api $(TEST)

test-outage: ## Let the outbox live through an outage of 2 minutes at 1,000 events a second
	OUTBOX_OUTAGE_SECONDS=120 cargo test --locked --workspace --test redis_outbox_outage -- --nocapture

test-cluster: ## Run the tests that need a whole cluster; KEEP_CLUSTER=1 leaves it running
	$(cluster)/test cluster $(TEST)

bench: ## Compare the library with a raw client, as ratios; TEST=word runs only some rows
	cargo bench --locked --workspace --bench bus -- $(TEST)
	cargo bench --locked --workspace --bench outbox -- $(TEST)

fmt: ## Format the Rust code
	cargo fmt --all

lint: ## Check the format, the code with clippy, its documentation, and the scripts with shellcheck
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps
	shellcheck --external-sources --source-path SCRIPTDIR $$(git grep -lE '^#!.*bash|^# shellcheck shell=bash')

images: ## Build the container images into target/images
	$(cluster)/build
	$(cluster)/images

crds: ## Generate the resource definition from the operator's types
	cargo build --locked --workspace --bins
	"$${CARGO_TARGET_DIR:-target}/debug/operator" crd >crds/eventconsumergroups.yaml
	cp crds/eventconsumergroups.yaml charts/eventbus/files/

cluster-up: ## Bring up the test cluster, or keep the one that runs
	$(cluster)/up

cluster-down: ## End the test cluster
	$(cluster)/down

clean-cluster: ## End the test cluster and the API server of test-api
	$(cluster)/down --control-plane
	$(cluster)/down

setup: ## Install what demo and tests need (Debian, Ubuntu), or tell what is missing
	$(cluster)/setup
	tests/python/setup
