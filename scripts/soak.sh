#!/usr/bin/env bash
# Twenty minutes of mixed load with faults, and whether anything grew or was lost.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() {
  cat <<'TEXT'
Usage: scripts/soak.sh [--seconds=N] [--seed=N] [--talkers=N]

Three replicas behind HAProxy with one Redis (appendfsync always), a tokenizer, API keys of two tenants,
the embedded model. Clients take turns in their sessions, leave in mid-stream, are killed, read slowly,
fork, cut, delete and read back sessions; one sends what must be refused, and bytes that are no calls.
Every 20 s, in turn: Redis is stopped or killed and comes back, replica 2 gets SIGTERM under load,
replica 1 is drained, replica 3 is killed (-9). Checked is that

  - no program ended by itself, and each call was answered as it must be;
  - no acknowledged token is lost, and conversations are those of a server left in peace;
  - counters, summed over all processes that ever ran, agree with the clients' books;
  - sessions moved when they had to, and each move was counted;
  - nobody connected, as many descriptors are open as before the load;
  - memory, descriptors and threads of those never restarted (replica 1, the tokenizer) are flat. After a
    quarter of the time for warming up, a line is laid through medians of 30 spans of time (Theil and
    Sen). The most growth that its 99 % bounds allow must be within 2 % of the memory, or 3 descriptors
    or threads. Not judged where the soak is shorter than 10 minutes.

  --seconds=N  of load; default 1200. Looking takes up to a minute more
  --seed=N     of what clients do; default 1
  --talkers=N  of each of two tenants; default 4

Needs redis-server and haproxy (scripts/setup.sh test installs them). Prints how it goes; the result is
build/soak/soak.json and a picture, build/soak/soak.svg. The exit code is 0 where all held.
TEXT
}

for argument in "$@"; do
  case $argument in
    -h | --help)
      usage
      exit 0
      ;;
    --seconds=* | --seed=* | --talkers=*)
      if [[ ! ${argument#*=} =~ ^[1-9][0-9]{0,8}$ ]]; then
        echo "soak.sh: $argument is not a number over 0" >&2
        exit 2
      fi
      ;;
    *)
      usage >&2
      exit 2
      ;;
  esac
done

export CCACHE_BASEDIR=$PWD CCACHE_NOHASHDIR=true
mkdir -p build/logs
log=build/logs/soak-build.log
if ! { cmake --preset release && cmake --build build/release --target kvasir-model kvasir-tokenizer; } \
  >"$log" 2>&1; then
  tail -n 30 "$log" >&2
  exit 1
fi
export KVASIR_BIN_DIR=$PWD/build/release/bin PYTHONPATH=$PWD/tests/operations
exec build/tools/venv/bin/python -B tests/operations/soak/soak.py --out=build/soak "$@"
