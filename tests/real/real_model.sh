#!/usr/bin/env bash
# Memory, exactness, parity and the demo on real weights, where a user has them.
set -euo pipefail

usage() {
  cat <<'TEXT'
Usage: KVASIR_MODEL_DIR=DIR tests/real/real_model.sh BUILD_DIR
   or: KVASIR_MODEL_DIR=DIR ctest --test-dir build/release -L slow -V

DIR is a Hugging Face directory with a dense Qwen3. Exits 77, which CTest calls skipped, where
KVASIR_MODEL_DIR is not set. What a check needs and is not there is said, and skips that check:
the demo needs the services of build/release and DIR/tokenizer.json; parity needs a Python with
tests/golden/requirements.txt (KVASIR_GOLDEN_PYTHON, default python3) and memory for the model
in fp32.
TEXT
}

if [[ $# -ne 1 || $1 == -h || $1 == --help ]]; then
  usage
  exit $(($# == 1 ? 0 : 2))
fi
if [[ -z ${KVASIR_MODEL_DIR:-} ]]; then
  echo "SKIPPED: KVASIR_MODEL_DIR names no directory with a Qwen3 checkpoint"
  exit 77
fi
tests=$(realpath "$1")/tests
KVASIR_MODEL_DIR=$(realpath "$KVASIR_MODEL_DIR")
export KVASIR_MODEL_DIR
python=${KVASIR_GOLDEN_PYTHON:-python3}
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

echo "== memory and exactness"
"$tests/real_model_test" --gtest_brief=1

echo "== the demo"
if [[ ! -x build/release/bin/kvasir-demo || ! -x build/release/bin/kvasir-model ]]; then
  echo "SKIPPED the demo: build/release has no services"
elif [[ ! -f $KVASIR_MODEL_DIR/tokenizer.json ]]; then
  echo "SKIPPED the demo: no tokenizer.json in $KVASIR_MODEL_DIR"
else
  KVASIR_MODEL=$KVASIR_MODEL_DIR scripts/with_services.sh build/release/bin/kvasir-demo
fi

echo "== parity with transformers"
if ! "$python" -c 'import torch, tqdm, transformers' 2>/dev/null; then
  echo "SKIPPED parity: $python lacks tests/golden/requirements.txt"
  exit 0
fi
golden=$(mktemp -d)
trap 'rm -rf "$golden"' EXIT
PYTHONPATH=tests/golden "$python" tests/real/compare_with_hf.py "$KVASIR_MODEL_DIR" \
  --output "$golden"
KVASIR_GOLDEN_DIR=$golden "$tests/real_parity_test" --gtest_brief=1
