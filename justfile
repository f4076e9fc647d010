# Shortcuts; everything here can be typed out. `just` alone lists them.

_list:
    @just --list

# Build the node.
build:
    cargo build --release -p starling

# Run a node before an origin: `just node http://127.0.0.1:3000`.
node origin:
    cargo run --release -p starling -- node --origin {{origin}}

# Format, then show what clippy says.
lint:
    cargo fmt --all
    cargo clippy --release --workspace --all-targets -- -D warnings

# All tests; `just test --long` for full sizes, `just test --quick` for the short ones.
test *options:
    tests/run {{options}}

# One test binary of the tests crate, or some of its tests: `just only caching purge`.
only binary *filter:
    cargo build --release -p starling
    cargo test --release -p starling-tests --test {{binary}} -- {{filter}}

# One test of the public cache suite, with all it sent and received.
suite-test id:
    cargo build --release -p starling
    TEST_ID={{id}} cargo test --release -p starling-tests --test cache_suite the_public -- --nocapture

# A minute of requests, purges and faults by a seed, judged: `just chaos --seed 7 --topology three-regions`.
chaos *options:
    testbed/chaos {{options}}

# Licences, advisories and sources of dependencies (needs cargo-deny).
deny:
    cargo deny check
