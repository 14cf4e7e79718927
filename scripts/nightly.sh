#!/usr/bin/env bash
# What takes too long for every change: every stage of scripts/test.sh with clang-tidy on all
# files and long fuzzing, the scheduler's simulation with many seeds, a million texts beside Hugging
# Face's tokenizers, the GPU's library for every architecture, all bugs that are planted in it in every
# mode, servers killed under load, twenty minutes of mixed load with faults, a store that is away for
# long, each with a new seed, then the tests with the label slow, which skip themselves without
# KVASIR_MODEL_DIR, a folder with a real checkpoint.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

KVASIR_FUZZ_SECONDS=${KVASIR_FUZZ_SECONDS:-1200} scripts/test.sh --all-files
KVASIR_SIMULATION_SEEDS=2000 build/release/tests/simulation_test
seed=$(date +%s)
build/tools/venv/bin/python -B tests/tokenizer/differential.py --encode build/release/tests/encode_stream \
  --model build/testdata/qwen3 build/testdata/llama3 build/testdata/gpt2 --count 1000000 --seed "$seed"
cmake --preset release -B build/architectures -DKVASIR_SERVICES=OFF -DKVASIR_CUDA=ON \
  "-DKVASIR_CUDA_ARCHITECTURES=80;89;90;100;120"
cmake --build build/architectures --target kvasir_cuda
KVASIR_GPU_LIBRARY=build/architectures/bin/libkvasir_cuda.so \
  KVASIR_KERNEL_SHARED_MEMORY=build/release/tests/cuda_kernel_shared_memory build/tools/venv/bin/python -B \
  tests/engine/backend/cuda/machine_code_test.py
scripts/simt-bugs.sh
scripts/torture.sh --seed="$seed"
scripts/torture.sh --move --seed="$seed"
scripts/soak.sh --seed="$seed"
KVASIR_OUTAGE_SECONDS=10 build/release/tests/stored_outage_test
ctest --test-dir build/release --label-regex slow --output-on-failure --no-tests=error
