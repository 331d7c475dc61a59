# Every command that CI runs, runnable here. `just` lists them, `just ci` runs them all.

set shell := ["bash", "-euo", "pipefail", "-c"]

published := "-p scm-bitbucket-dc -p scm-client -p scm-core -p scm-git -p scm-gitlab -p scm-relay -p scm-testkit -p scm-transport"

_list:
    @just --list

# Everything, in CI's order
ci: fmt forbid tree deny clippy test doc features publish deploy main-job

# Formatting
fmt:
    cargo fmt --all --check

# Lints, with all features and with none
clippy:
    cargo clippy --workspace --all-targets --all-features -- -D warnings
    cargo clippy {{ published }} --lib --no-default-features -- -D warnings

# Every test, as the README says
test:
    cargo test --workspace

# Documentation without a broken link
doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --all-features

# Each feature on its own
features:
    cargo hack check {{ published }} --each-feature --no-dev-deps

# The directions that dependencies may take
tree:
    .ci/tree

# Licences, bans and sources of what we depend on
deny:
    cargo deny check bans licenses sources

# What must not be in the code
forbid:
    .ci/forbid

# Packages as they would be published
publish:
    cargo publish --workspace --dry-run --allow-dirty --no-verify

# Charts, units and images, held against the programs
deploy:
    cargo build -p scm-relay --bins
    .ci/deploy "${CARGO_TARGET_DIR:-target}/debug"

# The main job on its embedded default: exit code 0 and five pull requests for each product over each route
main-job:
    cargo run --release --bin remediate
    [ "$(cargo run --release --bin remediate -- --json | grep -o '"created":5,' | wc -l)" = 6 ]

# The conformance suite, as anyone may run it: `just conformance --help`
conformance *args:
    cargo run --release --bin conformance -- {{ args }}

# The conformance suite on every cell of product × route × path
matrix:
    SCM_MATRIX=whole cargo test -p scm-client --test it matrix -- --nocapture --test-threads 1
    SCM_MATRIX=whole cargo test -p scm-relay --test it matrix -- --nocapture --test-threads 1

# Agents that are killed and stopped at random under mixed load, for ten minutes or SOAK_SECONDS
soak:
    SOAK_SECONDS="${SOAK_SECONDS:-600}" cargo test --release -p scm-relay --test it fault_soak -- --nocapture

# A clone of 1 GiB through hub and agent: same ids, little memory
big-clone megabytes="1100":
    CLONE_MB={{ megabytes }} cargo test --release -p scm-relay --test it large_clone -- --nocapture

# What thousands of idle agents cost a hub
idle-agents count="4000":
    ulimit -n "$(ulimit -Hn)"; IDLE_AGENTS={{ count }} IDLE_SECONDS=60 cargo test --release -p scm-relay --test it idle_agent -- --nocapture

# The clients that others wrote, for the tests that let them work against the simulator
peers:
    .ci/peers

# The published API description as a judge between client and simulator, where the folder is at hand
referee home:
    .ci/referee {{ home }}

# docs/troubleshooting.md anew, from what the checks say; needs squid, tinyproxy and nginx
troubleshooting:
    CI=true SCM_WRITE_TROUBLESHOOTING=1 cargo test -p scm-client --test it ladder::
    cargo test -p scm-client --test it ladder::every_code

# Measurements; the figures go into benches/README.md
bench:
    cargo bench -p benches

# Commits in large repositories, in pairs with the git program
bench-commits:
    cargo bench -p benches --bench commits

# The agent route, in pairs with direct connections, nginx and relays that others wrote, about five minutes
bench-relay:
    .ci/rivals
    cargo bench -p benches --bench relay
