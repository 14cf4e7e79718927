#!/usr/bin/env bash
# Runs a command against the services, started for it alone on free ports of this host.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() {
  cat <<'TEXT'
Usage: scripts/with_services.sh COMMAND [ARGUMENT...]

Starts kvasir-tokenizer, kvasir-model and kvasir-gateway from build/release/bin, runs COMMAND
from the top of the project with their addresses in KVASIR_TOKENIZER_ADDRESS,
KVASIR_MODEL_ADDRESS and KVASIR_GATEWAY_ADDRESS, stops them, and exits as COMMAND did. Sessions are kept in an SQLite file for so long. A model service
that is killed is started again under its address; KVASIR_MODEL_PID_FILE names a file with its
process. The services' own settings come from the environment, for example KVASIR_MODEL=DIR for
another model than models/tiny. Their logs are in build/logs.
TEXT
}

if [[ $# -eq 0 || $1 == -h || $1 == --help ]]; then
  usage
  exit $(($# == 0 ? 2 : 0))
fi

pids=()
state=$(mktemp -d)
export KVASIR_MODEL_PID_FILE=$state/kvasir-model.pid
export KVASIR_SESSION_STORE=${KVASIR_SESSION_STORE:-sqlite:$state/sessions.db}
stop_services() {
  trap - EXIT INT TERM HUP
  touch "$state/stopping"
  if [[ ${#pids[@]} -gt 0 ]]; then
    kill -TERM "${pids[@]:0:1}" "${pids[@]:2}" 2>/dev/null || true
    kill -TERM "$(cat "$KVASIR_MODEL_PID_FILE" 2>/dev/null)" 2>/dev/null || true
    wait "${pids[@]}" 2>/dev/null || true
  fi
  rm -rf "$state"
}
trap stop_services EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

# A session of its own: Ctrl-C at the terminal reaches the command; the service is stopped here,
# after it.
run_service() {
  local name=$1 listen=$2
  shift 2
  exec setsid "build/release/bin/$name" "--listen=$listen" "$@" \
    >>"build/logs/$name.log" 2>&1 </dev/null
}

# As a supervisor does: again, under the same address, when something has killed it.
supervise_model() {
  local listen=127.0.0.1:0 pid code
  while true; do
    run_service kvasir-model "$listen" --metrics=127.0.0.1:0 &
    pid=$!
    echo "$pid" >"$KVASIR_MODEL_PID_FILE"
    code=0
    { wait "$pid" || code=$?; } 2>/dev/null # the shell's own word about it
    if [[ $code -ne 137 || -e $state/stopping ]]; then
      return "$code"
    fi
    listen=$(bound_address kvasir-model)
  done
}

bound_address() {
  sed -n 's/^listening on \(.*:[0-9]*\)$/\1/p' "build/logs/$1.log" | head -n 1
}

# Waits until the service has said where it listens; sets `address`.
await_address() {
  local name=$1 pid=$2
  local log=build/logs/$name.log
  while true; do
    address=$(bound_address "$name")
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
: >build/logs/kvasir-tokenizer.log # what an earlier run said is not an answer
: >build/logs/kvasir-model.log
: >build/logs/kvasir-gateway.log
run_service kvasir-tokenizer 127.0.0.1:0 --metrics=127.0.0.1:0 &
pids+=($!)
supervise_model &
pids+=($!)
await_address kvasir-tokenizer "${pids[0]}"
export KVASIR_TOKENIZER_ADDRESS=$address
await_address kvasir-model "${pids[1]}"
export KVASIR_MODEL_ADDRESS=$address
run_service kvasir-gateway 127.0.0.1:0 "--tokenizer-server=$KVASIR_TOKENIZER_ADDRESS" \
  "--model-server=$KVASIR_MODEL_ADDRESS" &
pids+=($!)
await_address kvasir-gateway "${pids[2]}"
export KVASIR_GATEWAY_ADDRESS=$address

"$@"
