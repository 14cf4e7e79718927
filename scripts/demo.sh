#!/usr/bin/env bash
# Installs what is needed, builds, and shows what Kvasir does, with models/tiny.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

scripts/setup.sh build

# Shown where somebody watches, else only kept.
log=build/logs/demo-build.log
build() {
  local into=$log
  [[ -t 1 ]] && into=/dev/tty
  cmake --preset release >"$log" 2>&1 &&
    cmake --build build/release --target kvasir-tokenizer kvasir-model kvasir-gateway kvasir \
      kvasir-demo \
      >>"$into" 2>&1
}

mkdir -p build/logs
echo "demo: building (the first time takes minutes)"
if ! build </dev/null; then
  tail -n 30 "$log" >&2
  echo "demo: the build failed" >&2
  exit 1
fi

exec scripts/with_services.sh build/release/bin/kvasir-demo
