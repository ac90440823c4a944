# Everything a person or CI does with this repository. `make run` and `make test` work on a bare Debian 12 with Rust.
export PATH := $(PATH):$(HOME)/.cargo/bin

.PHONY: run fleet test check fmt doc bless lint prerequisites

# The virtual lab: a machine is met, commissioned, deployed, released. LAB_ARGS="--image debian --firmware bios" varies it.
run: prerequisites
	cargo run --locked --quiet -p farrier-integration-tests --bin farrier-lab -- $(LAB_ARGS)

# Simulated machines go through their whole life, and what that cost is told.
fleet: prerequisites
	cargo run --locked --release --quiet -p farrier-fleet -- --machines $(or $(MACHINES),100)

# What CI runs.
test: lint doc
	cargo test --locked --workspace

# The quick loop: format, lints, unit tests.
check: lint
	cargo test --locked --workspace --lib --bins

fmt:
	cargo fmt --all

doc: prerequisites
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps

# Rewrites generated documents and golden files; read the difference before you commit it.
bless:
	UPDATE_EXPECT=1 cargo test --locked --workspace --exclude farrier-integration-tests

lint: prerequisites
	cargo fmt --all -- --check
	cargo clippy --locked --workspace --all-targets -- -D warnings

prerequisites:
	deploy/debian/prerequisites.sh
