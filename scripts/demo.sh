#!/usr/bin/env bash
# Installs what is needed, builds, and shows what Kvasir does, with models/tiny.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

scripts/setup.sh build

mkdir -p build/logs
log=build/logs/demo-build.log
echo "demo: building (the first time takes minutes; the log is $log)"
if ! { cmake --preset release && cmake --build build/release --target \
  kvasir-tokenizer kvasir-model kvasir kvasir-demo; } >"$log" 2>&1 </dev/null; then
  tail -n 30 "$log" >&2
  echo "demo: the build failed; all it said is in $log" >&2
  exit 1
fi

exec scripts/with_services.sh build/release/bin/kvasir-demo
