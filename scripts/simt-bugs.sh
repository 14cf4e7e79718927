#!/usr/bin/env bash
# Plants bugs in the GPU's sources, one at a time, and shows what finds each on the emulator.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() {
  cat <<'TEXT'
Usage: scripts/simt-bugs.sh [--plain] [BUG...]

Compiles the CUDA sources for the emulator with one planted bug after another (all #if defined(BUG_...)
in engine/backend/cuda, or those named) and runs the tests of the part that it is in:

  plain   every schedule, NaN where nothing may be read, guard zones
  race    the race detector
  asan    AddressSanitizer and UBSan, on the device's memory too

The first row has no bug and must find none: anything else ends the run. In the others:

  yes        a test failed
  emulator   the emulator saw what a GPU leaves undefined
  race       the race detector saw it
  sanitizer  AddressSanitizer or UBSan saw it
  no         all tests passed
  time-out   no test failed, one did not end: that finds nothing
  -          the part has no tests in this mode

A Markdown table goes to build/bugs/table.md, logs lie beside it, progress goes to stderr. The exit
code is 0 when every bug was found by one of the modes.

  --plain   only that mode
TEXT
}

modes=(plain race asan)
bugs=()
for argument in "$@"; do
  case $argument in
    -h | --help)
      usage
      exit 0
      ;;
    --plain) modes=(plain) ;;
    BUG_*) bugs+=("$argument") ;;
    *)
      usage >&2
      exit 2
      ;;
  esac
done
planted=$(grep -rhoE 'BUG_[A-Z0-9_]+' engine/backend/cuda | sort -u)
if [[ ${#bugs[@]} -eq 0 ]]; then
  mapfile -t bugs <<<"$planted"
fi
for bug in "${bugs[@]}"; do
  if ! grep -qx "$bug" <<<"$planted"; then
    echo "simt-bugs: $bug is planted nowhere" >&2
    exit 2
  fi
done

export CCACHE_BASEDIR=$PWD CCACHE_NOHASHDIR=true
export GTEST_FAIL_FAST=1
folder=build/bugs
mkdir -p "$folder"

# The test programs of the part that a bug is in, in a mode.
tests_of() {
  local bug=$1 mode=$2 tests=() plain_only=()
  case $bug in
    BUG_MATMUL_*) tests=(cuda_matmul_test) ;;
    BUG_ATTENTION_*) tests=(cuda_attention_test) ;;
    BUG_PLAN_*)
      tests=(cuda_attention_test)
      plain_only=(cuda_attention_plan_test)
      ;;
    BUG_SAMPLE_*) tests=(cuda_sample_test) ;;
    BUG_ROW_*) tests=(cuda_rowwise_test) ;;
    BUG_UPLOAD_*) plain_only=(cuda_backend_test) ;;
    BUG_GRAPH_*) plain_only=(cuda_decode_graphs_test emulated_engine_test) ;;
    BUG_STEP_*) plain_only=(cuda_backend_test cuda_decode_graphs_test emulated_engine_test) ;;
    *)
      echo "simt-bugs: $bug: no tests are known for it" >&2
      exit 1
      ;;
  esac
  case $mode in
    plain)
      [[ $bug == BUG_STEP_* ]] && plain_only+=(emulated_run_ahead_late_test)
      tests=("${plain_only[@]}" "${tests[@]}")
      ;;
    race) tests=("${tests[@]/%/_race}") ;;
    asan) tests=("${plain_only[@]}" "${tests[@]}") ;;
  esac
  echo "${tests[@]}"
}

# What must be built for a test.
targets_of() {
  case $1 in
    emulated_run_ahead_late_test) echo run_ahead_test kvasir_cuda_emulated_plugin ;;
    *) echo "$1" ;;
  esac
}

# Time enough for a machine that has other work. Beside build/release and with its options, so that
# what has no bug comes out of the compiler's cache.
configure() {
  cmake --preset "$1" -B "build/bugs-$1" -DKVASIR_SERVICES=OFF -DKVASIR_CUDA=OFF \
    -DKVASIR_TEST_TIMEOUT=3000 -DKVASIR_PLANTED_BUG="$2"
}

# The word for the table. bug: empty for none.
run_mode() {
  local bug=$1 mode=$2 programs=("${@:3}") preset=release log=$folder/${1:-none}.$2.log
  local targets=() name
  [[ $mode == asan ]] && preset=asan
  if [[ ${#programs[@]} -eq 0 ]]; then
    echo "-"
    return
  fi
  for name in "${programs[@]}"; do
    read -ra words <<<"$(targets_of "$name")"
    targets+=("${words[@]}")
  done
  if ! { configure "$preset" "$bug" && cmake --build "build/bugs-$preset" --target "${targets[@]}"; } \
    >"$log" 2>&1; then
    echo "does not build"
    return
  fi
  local pattern
  pattern=$(printf '|%s' "${programs[@]}")
  if setarch --addr-no-randomize ctest --test-dir "build/bugs-$preset" --stop-on-failure --output-on-failure \
    --parallel 2 --no-tests=error --tests-regex "^(${pattern:1})\$" >>"$log" 2>&1; then
    echo no
  elif grep -q 'AddressSanitizer\|runtime error' "$log"; then
    echo sanitizer
  elif grep -q 'RACE\|data race' "$log"; then
    echo race
  elif grep -q 'SIMT ERROR' "$log"; then
    echo emulator
  elif grep -qE '^\s+[0-9]+ - \S+ \(Timeout\)' "$log" &&
    ! grep -E '^\s+[0-9]+ - \S+ \(' "$log" | grep -qv '(Timeout)'; then
    echo time-out
  else
    echo yes
  fi
}

# One row, with its progress. Fills `results`.
run_row() {
  local bug=$1 title=$2 mode programs start
  results=()
  printf '[%d/%d] %s:' "$row" "${#bugs[@]}" "$title" >&2
  for mode in "${modes[@]}"; do
    start=$SECONDS
    if [[ -n $bug ]]; then
      read -ra programs <<<"$(tests_of "$bug" "$mode")"
    else
      # All programs that this run will need.
      mapfile -t programs < <(for b in "${bugs[@]}"; do tests_of "$b" "$mode"; done | tr ' ' '\n' |
        grep . | sort -u)
    fi
    results+=("$(run_mode "$bug" "$mode" "${programs[@]}")")
    printf ' %s %s (%d s)' "$mode" "${results[-1]}" $((SECONDS - start)) >&2
  done
  printf '\n' >&2
  printf '| %s |%s\n' "$title" "$(printf ' %s |' "${results[@]}")" | tee -a "$table"
}

table=$folder/table.md
printf '| planted bug |%s\n|---|%s\n' "$(printf ' %s |' "${modes[@]}")" \
  "$(printf -- '---|%.0s' "${modes[@]}")" | tee "$table"
row=0
run_row "" none
for result in "${results[@]}"; do
  if [[ $result != no && $result != - ]]; then
    echo "simt-bugs: without any bug a mode says '$result': see $folder/none.*.log" >&2
    exit 1
  fi
done
missed=0
for bug in "${bugs[@]}"; do
  row=$((row + 1))
  run_row "$bug" "$bug"
  found=false
  for result in "${results[@]}"; do
    case $result in yes | sanitizer | race | emulator) found=true ;; esac
  done
  $found || missed=$((missed + 1))
done
echo "${#bugs[@]} planted, $missed not found"
exit $((missed > 0))
