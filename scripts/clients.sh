#!/usr/bin/env bash
# Builds the clients as their users would, and tries them against live services.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() {
  cat <<'TEXT'
Usage: scripts/clients.sh [PART]...

  python   clients/python: types, the wheel, its tests, quickstart and tour
  node     clients/node: strict types, the package, its tests, quickstart

Without a PART, all of them. The services are those of build/release; what is built goes to
build/clients.
TEXT
}

PARTS=(python node)
venv=$PWD/build/tools/venv/bin
out=$PWD/build/clients

# A story, a chat: several words.
expect_words() {
  local words=$1
  shift
  local text
  text=$("$@")
  echo "$*: $text"
  [[ $(wc -w <<<"$text") -ge $words ]]
}

part_python() {
  rm -rf "$out/python" "$out/wheel"
  "$venv/pip" -q --disable-pip-version-check wheel --no-build-isolation --no-deps \
    --wheel-dir "$out/wheels" clients/python
  # As it is installed, and nothing of what is installed here besides.
  "$venv/pip" -q --disable-pip-version-check install --no-deps --target "$out/python" \
    "$out"/wheels/kvasir_client-*.whl
  (cd "$out" && MYPYPATH=$out/python "$venv/mypy" --cache-dir="$out/mypy" \
    --config-file=../../clients/python/pyproject.toml -p kvasir)
  MYPYPATH=$out/python "$venv/mypy" --cache-dir="$out/mypy" \
    --config-file=clients/python/pyproject.toml clients/python/tour.py
  export PYTHONPATH=$out/python
  scripts/with_services.sh "$venv/python" -B tests/clients/python_client_test.py
  expect_words 5 scripts/with_services.sh "$venv/python" -B clients/python/quickstart.py
  expect_words 40 scripts/with_services.sh "$venv/python" -B clients/python/tour.py
}

part_node() {
  local modules=$PWD/build/tools/npm/node_modules
  [[ -e clients/node/node_modules ]] || ln -s "$modules" clients/node/node_modules
  # As it is installed: what is packed, and what that depends on.
  rm -rf "$out/node"
  mkdir -p "$out/node/node_modules"
  (cd clients/node && npm --silent pack --pack-destination "$out/node" >/dev/null)
  tar -xzf "$out"/node/kvasir-client-*.tgz -C "$out/node/node_modules"
  mv "$out/node/node_modules/package" "$out/node/node_modules/kvasir-client"
  ln -s "$modules/@grpc" "$out/node/node_modules/@grpc"
  cp clients/node/quickstart.mjs tests/clients/node_client_test.mjs "$out/node"
  scripts/with_services.sh node --test "$out/node/node_client_test.mjs"
  expect_words 3 scripts/with_services.sh node "$out/node/quickstart.mjs"
}

parts=("$@")
[[ $# -gt 0 ]] || parts=("${PARTS[@]}")
for part in "${parts[@]}"; do
  if [[ " ${PARTS[*]} " != *" $part "* ]]; then
    usage >&2
    exit 2
  fi
done
mkdir -p "$out"
for part in "${parts[@]}"; do
  echo "== $part"
  # A process of its own: what a part sets in the environment is the part's.
  (set -e && "part_$part")
done
