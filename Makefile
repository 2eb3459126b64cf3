# What a newcomer needs. Everything else is `cargo xtask --help`.

export PATH := $(HOME)/.cargo/bin:$(PATH)

.PHONY: run test bench tools

# Builds and starts a server on http://127.0.0.1:8080; its data is kept in ./data.
run: tools
	cargo build --release -p routerbase
	./target/release/routerbase serve

# Everything that CI checks.
test: tools
	cargo xtask ci

# A release build beside a bare handler; prints a table.
bench: tools
	cargo build --release -p routerbase
	cargo xtask bench submit
	cargo xtask bench status

# Installs what is missing where that is possible without a question (root, or sudo without a
# password, and apt-get), else says what to install. A running PostgreSQL is not needed: the tests
# start their own.
tools:
	@set -eu; \
	missing=''; \
	have() { command -v "$$1" >/dev/null 2>&1; }; \
	have cc && have c++ || missing="$$missing build-essential"; \
	have ffmpeg || missing="$$missing ffmpeg"; \
	have curl || missing="$$missing curl ca-certificates"; \
	have git || missing="$$missing git"; \
	have initdb || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 \
	    || missing="$$missing postgresql"; \
	if [ -n "$$missing" ]; then \
	    as_root=''; \
	    if [ "$$(id -u)" != 0 ]; then as_root='sudo -n'; fi; \
	    if ! have apt-get || ! $$as_root true 2>/dev/null; then \
	        echo "Please install:$$missing (names of Debian's packages), then try again." >&2; \
	        exit 1; \
	    fi; \
	    echo "Installing:$$missing"; \
	    $$as_root apt-get update -q </dev/null; \
	    $$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y \
	        --no-install-recommends $$missing </dev/null; \
	    have nasm || $$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y \
	        --no-install-recommends nasm </dev/null || echo "Without nasm films are encoded slower."; \
	fi; \
	if ! have cargo; then \
	    echo "Please install Rust 1.95 or newer: https://rustup.rs" >&2; \
	    exit 1; \
	fi; \
	if ! cargo fmt --version >/dev/null 2>&1 || ! cargo clippy --version >/dev/null 2>&1; then \
	    rustup component add rustfmt clippy; \
	fi
