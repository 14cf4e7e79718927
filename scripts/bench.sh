#!/usr/bin/env bash
# Measures Kvasir beside llama.cpp and the machine's own limits.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() {
  cat <<'TEXT'
Usage: scripts/bench.sh [--quick]

Builds Kvasir and llama.cpp for this machine, writes Qwen3 checkpoints with random weights (0.6B
and 4B; 19 GB in build/bench), and measures both on the same weights, one after the other, beside
what memory and arithmetic units can do. The first time takes a quarter of an hour more.

  --quick  the 0.6B alone

Results: build/bench/result.json and result.md, a table of medians, ratios to llama.cpp and
fractions of the machine's limits.
TEXT
}

case "${1:-}" in
  -h | --help)
    usage
    exit 0
    ;;
  "" | --quick) ;;
  *)
    usage >&2
    exit 2
    ;;
esac

scripts/setup.sh bench
cmake --preset release >/dev/null
cmake --build build/release --parallel "$(nproc)" \
  --target kvasir machine_limits library_gemm grpc_overhead_bench
python=build/tools/bench/bin/python
shapes=(0.6b)
[[ ${1:-} == --quick ]] || shapes+=(4b)
for shape in "${shapes[@]}"; do
  "$python" scripts/bench/checkpoint.py --shape="$shape" --output="build/bench/$shape"
done
exec "$python" scripts/bench/run.py "$@"
