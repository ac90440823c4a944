# Everything a person or CI does with this repository. `make run` and `make test` work on a bare Debian 12.
export PATH := $(PATH):$(HOME)/.cargo/bin

.PHONY: run test check fmt doc bless prerequisites

# The virtual lab: enlists, commissions, deploys and releases a machine, and shows it.
run: prerequisites
	cargo run --locked --quiet -p farrier-integration-tests --bin farrier-lab -- $(LAB_ARGS)

# What CI runs.
test: prerequisites check doc
	cargo test --locked --workspace

# Format and lints.
check: prerequisites
	cargo fmt --all -- --check
	cargo clippy --locked --workspace --all-targets -- -D warnings

fmt:
	cargo fmt --all

doc: prerequisites
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps

# Rewrites generated documents and golden files; read the difference before you commit it.
bless:
	UPDATE_EXPECT=1 cargo test --locked --workspace

prerequisites:
	deploy/debian/prerequisites.sh
