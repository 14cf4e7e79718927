#!/usr/bin/env bash
# Runs a command against both services, started for it alone on free ports of this host.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() {
  cat <<'TEXT'
Usage: scripts/with_services.sh COMMAND [ARGUMENT...]

Starts kvasir-tokenizer and kvasir-model from build/release/bin, runs COMMAND from the top of
the project with their addresses in KVASIR_TOKENIZER_ADDRESS and KVASIR_MODEL_ADDRESS, stops
them, and exits as COMMAND did. The services' own settings come from the environment, for
example KVASIR_MODEL=DIR for another model than models/tiny. Their logs are in build/logs.
TEXT
}

if [[ $# -eq 0 || $1 == -h || $1 == --help ]]; then
  usage
  exit $(($# == 0 ? 2 : 0))
fi

pids=()
stop_services() {
  trap - EXIT INT TERM HUP
  if [[ ${#pids[@]} -gt 0 ]]; then
    kill -TERM "${pids[@]}" 2>/dev/null || true
    wait "${pids[@]}" 2>/dev/null || true
  fi
}
trap stop_services EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

start_service() {
  local name=$1
  : >"build/logs/$name.log"  # what an earlier run said is not an answer
  # A session of its own: Ctrl-C at the terminal reaches the command; the service is stopped here,
  # after it.
  setsid "build/release/bin/$name" --listen=127.0.0.1:0 --metrics=127.0.0.1:0 \
    >"build/logs/$name.log" 2>&1 </dev/null &
  pids+=($!)
}

# Waits until the service has said where it listens; sets `address`.
await_address() {
  local name=$1 pid=$2
  local log=build/logs/$name.log
  while true; do
    address=$(sed -n 's/^listening on \(.*:[0-9]*\)$/\1/p' "$log" | head -n 1)
    if [[ -n $address ]]; then
      return
    fi
    if ! kill -0 "$pid" 2>/dev/null; then
      echo "$name did not start:" >&2
      cat "$log" >&2
      exit 1
    fi
    sleep 0.05
  done
}

mkdir -p build/logs
start_service kvasir-tokenizer
start_service kvasir-model
await_address kvasir-tokenizer "${pids[0]}"
export KVASIR_TOKENIZER_ADDRESS=$address
await_address kvasir-model "${pids[1]}"
export KVASIR_MODEL_ADDRESS=$address

"$@"
