#!/usr/bin/env bash
# The test command: sets the machine up, builds everything once in the profile `e2e`, and runs all checks and tests.
# Arguments go to `cargo test`, for instance: tests/run.sh -p codecs, or: tests/run.sh --test kill
# One line "tests: N passed, N failed, N skipped" ends the run; the exit status is 0 only if everything was fine.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

step() { echo; echo "=== $* (${SECONDS} s)"; }

step "set-up"
tests/setup.sh

step "format"
cargo fmt --all --check

step "binaries"
cargo build --profile e2e --workspace --bins --locked

step "clippy"
cargo clippy --profile e2e --workspace --all-targets --locked -- -D warnings

step "documentation"
RUSTDOCFLAGS="-D warnings -A rustdoc::private-intra-doc-links" cargo doc --profile e2e --workspace --no-deps --document-private-items --locked --quiet

step "tests"
selection=("$@")
[ "${#selection[@]}" -gt 0 ] || selection=(--workspace)
output="$(mktemp)"
trap 'rm -f "$output"' EXIT
status=0
cargo test --profile e2e --locked --no-fail-fast "${selection[@]}" 2>&1 | tee "$output" || status=$?

step "done"
# Sums over the lines "test result: ok. 12 passed; 0 failed; 0 ignored; …" of every test binary.
awk '/^test result:/ { for (i = 2; i <= NF; i++) { if ($i ~ /^passed/) passed += $(i-1); if ($i ~ /^failed/) failed += $(i-1); if ($i ~ /^ignored/) skipped += $(i-1) } }
     END { printf "tests: %d passed, %d failed, %d skipped\n", passed, failed, skipped }' "$output"
exit "$status"
