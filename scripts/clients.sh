#!/usr/bin/env bash
# Builds the clients as their users would, and tries them against live services.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() {
  cat <<'TEXT'
Usage: scripts/clients.sh [PART]...

  python      clients/python: types, the wheel, its tests
  node        clients/node: strict types, the package, its tests
  docs        each example of docs/clients.md and README, by the commands that it shows

Without a PART, all of them. The services are those of build/release; what is built goes to
build/clients.
TEXT
}

PARTS=(python node docs)
venv=$PWD/build/tools/venv/bin
out=$PWD/build/clients

# The commands under a heading of a page, but those that start services: with_services.sh has.
commands_under() {
  awk -v heading="## $2" '/^## / { here = $0 == heading }
    /^```/ { if (inside) exit; if (here && $0 == "```sh") { inside = 1; next } }
    inside && !/&( +#.*)?$/' "$1"
}

# Runs them as they stand there; what they print must fit $3.
run_example() {
  echo "-- $2"
  local commands text
  commands=$(commands_under "$1" "$2")
  [[ -n $commands ]]
  # shellcheck disable=SC2016 # for the shell in there
  local servers='export KVASIR_TOKENIZER_SERVER=$KVASIR_TOKENIZER_ADDRESS
    export KVASIR_MODEL_SERVER=$KVASIR_MODEL_ADDRESS'
  text=$(scripts/with_services.sh bash -euo pipefail -c "$servers; $commands" </dev/null)
  tail -n 3 <<<"$text"
  [[ $text =~ $3 ]]
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
}

part_node() {
  local modules=$PWD/clients/node/node_modules
  npm --silent --prefix clients/node install --no-package-lock
  # As it is installed: what is packed, and what that depends on.
  rm -rf "$out/node"
  mkdir -p "$out/node/node_modules"
  (cd clients/node && npm --silent pack --pack-destination "$out/node" >/dev/null)
  tar -xzf "$out"/node/kvasir-client-*.tgz -C "$out/node/node_modules"
  mv "$out/node/node_modules/package" "$out/node/node_modules/kvasir-client"
  ln -s "$modules/@grpc" "$out/node/node_modules/@grpc"
  cp tests/clients/node_client_test.mjs "$out/node"
  scripts/with_services.sh node --test "$out/node/node_client_test.mjs"
}

part_docs() {
  rm -rf "$out"/{cpp,go/src,java}
  local language
  for language in Python Node C++ Go Java; do
    run_example docs/clients.md "$language" 'Your name is Mara.*tokens sent'
  done
  run_example docs/clients.md Stubs '([a-z]+ ){4}'
  run_example docs/clients.md Reflection '"ids".*"sessionLength"'
  run_example README.md "From the command line" 'decode tokens/s.*EXIT STATUS'
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
