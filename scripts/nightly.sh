#!/usr/bin/env bash
# What takes too long for every change: every stage of scripts/test.sh with clang-tidy on all
# files and long fuzzing, the scheduler's simulation with many seeds, then the tests with the label
# slow, which skip themselves without KVASIR_MODEL_DIR, a folder with a real checkpoint.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

KVASIR_FUZZ_SECONDS=${KVASIR_FUZZ_SECONDS:-1200} scripts/test.sh --all-files
KVASIR_SIMULATION_SEEDS=2000 build/release/tests/simulation_test
ctest --test-dir build/release --label-regex slow --output-on-failure --no-tests=error
