#!/usr/bin/env bash
# Kills servers under load, many times, and compares what they come back with.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() {
  cat <<'TEXT'
Usage: scripts/torture.sh [--store=NAME] [--rounds=N] [--seed=N]
       scripts/torture.sh --move [--sessions=N] [--seed=N]

In each round a kvasir-model gets a new store and a random load of turns, forks, cuts and deletions, is
killed (-9) at a random moment, now and then stopped, and comes back with its store, one to three times.
All that clients were told must be there, as --durability (drawn for the round) promises it, and every
conversation must go on bit for bit as on a server that was never killed.

With --move, three replicas behind HAProxy are drained and killed under load instead, and no client
may notice more than a wait.

  --store=NAME  only sqlite or redis; else one after the other
  --rounds=N    default 200 for each store
  --sessions=N  default 600
  --seed=N      of the first round; default 1. The same seed draws the same load, though what is under
                way when a server dies depends on the clock, too

Needs redis-server, with --move also haproxy (scripts/setup.sh test installs them). Prints what was done
and found; the exit code is 0 where all was well. A round that fails says how to run it again.
TEXT
}

# A whole number after NAME=.
number() {
  local value=${1#*=}
  if [[ ! $value =~ ^[0-9]{1,18}$ ]]; then
    echo "torture.sh: $1 is not a number" >&2
    exit 2
  fi
  echo "$value"
}

filter='*'
program=crash_torture_test
export KVASIR_TORTURE_ROUNDS=200 KVASIR_TORTURE_SEED=1 KVASIR_MOVE_SESSIONS=600
for argument in "$@"; do
  case $argument in
    --store=sqlite) filter='*.Sqlite' ;;
    --store=redis) filter='*.Redis' ;;
    --rounds=*) KVASIR_TORTURE_ROUNDS=$(number "$argument") ;;
    --sessions=*) KVASIR_MOVE_SESSIONS=$(number "$argument") ;;
    --seed=*) KVASIR_TORTURE_SEED=$(number "$argument") ;;
    --move) program=move_test ;;
    -h | --help)
      usage
      exit 0
      ;;
    *)
      usage >&2
      exit 2
      ;;
  esac
done

export CCACHE_BASEDIR=$PWD CCACHE_NOHASHDIR=true
mkdir -p build/logs
log=build/logs/torture-build.log
if ! { cmake --preset release && cmake --build build/release --target "$program"; } >"$log" 2>&1; then
  tail -n 30 "$log" >&2
  exit 1
fi
exec "build/release/tests/$program" --gtest_brief=1 "--gtest_filter=$filter"
