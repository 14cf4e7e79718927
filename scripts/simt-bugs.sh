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
  asan    AddressSanitizer and UBSan

A Markdown table goes to build/bugs/table.md; logs lie beside it. The exit code is 0 when every bug was
found by one of the modes.

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
if [[ ${#bugs[@]} -eq 0 ]]; then
  mapfile -t bugs < <(grep -rhoE 'BUG_[A-Z0-9_]+' engine/backend/cuda | sort -u)
fi

export CCACHE_BASEDIR=$PWD CCACHE_NOHASHDIR=true
folder=build/bugs
mkdir -p "$folder"

# The test programs of the part that a bug is in.
tests_of() {
  case $1 in
    BUG_MATMUL_*) echo cuda_matmul_test ;;
    BUG_ATTENTION_*) echo cuda_attention_test ;;
    BUG_SAMPLE_*) echo cuda_sample_test ;;
    BUG_ROW_*) echo cuda_rowwise_test ;;
    BUG_UPLOAD_*) echo cuda_backend_test ;;
    BUG_STEP_*)
      echo cuda_backend_test emulated_parity_test emulated_continuation_test emulated_run_ahead_late_test
      ;;
    *)
      echo "simt-bugs: $1: no tests are known for it" >&2
      exit 1
      ;;
  esac
}

build_folder() {
  if [[ $1 == asan ]]; then echo "$folder/asan"; else echo "$folder/release"; fi
}

configure() {
  local preset=release
  [[ $1 == "$folder/asan" ]] && preset=asan
  cmake --preset "$preset" -B "$1" -DKVASIR_SERVICES=OFF -DKVASIR_CUDA=OFF \
    -DKVASIR_WERROR=OFF -DKVASIR_PLANTED_BUG="$2"
}

# yes: a test failed; the word of who saw it; no: all passed; -: there is no such test.
run_mode() {
  local bug=$1 mode=$2 where log programs=() targets=() name
  where=$(build_folder "$mode")
  log=$folder/$bug.$mode.log
  for name in $(tests_of "$bug"); do
    case $mode in
      race)
        [[ $bug == BUG_STEP_* || $bug == BUG_UPLOAD_* ]] && continue
        name=${name}_race
        ;;
      asan) [[ $name == emulated_continuation_test || $name == emulated_run_ahead_late_test ]] && continue ;;
    esac
    programs+=("$name")
    case $name in
      emulated_continuation_test | emulated_run_ahead_late_test)
        name=${name#emulated_}
        targets+=("${name/_late/}" kvasir_cuda_emulated_plugin)
        ;;
      *) targets+=("$name") ;;
    esac
  done
  if [[ ${#programs[@]} -eq 0 ]]; then
    echo "-"
    return
  fi
  if ! { configure "$where" "$bug" && cmake --build "$where" --target "${targets[@]}"; } \
    >"$log" 2>&1; then
    echo "does not build"
    return
  fi
  local pattern
  pattern=$(printf '|%s' "${programs[@]}")
  if setarch --addr-no-randomize ctest --test-dir "$where" --timeout 400 --output-on-failure \
    --no-tests=error --tests-regex "^(${pattern:1})\$" >>"$log" 2>&1; then
    echo no
  elif grep -q 'AddressSanitizer\|runtime error' "$log"; then
    echo sanitizer
  elif grep -q 'RACE\|data race' "$log"; then
    echo race
  elif grep -q 'SIMT ERROR' "$log"; then
    echo emulator
  else
    echo yes
  fi
}

missed=0
table=$folder/table.md
printf '| planted bug | %s |\n|---|%s\n' "$(printf '%s | ' "${modes[@]}" | sed 's/ | $//')" \
  "$(printf -- '---|%.0s' "${modes[@]}")" | tee "$table"
for bug in "${bugs[@]}"; do
  row="| $bug |" found=false
  for mode in "${modes[@]}"; do
    result=$(run_mode "$bug" "$mode")
    row+=" $result |"
    case $result in yes | sanitizer | race | emulator) found=true ;; esac
  done
  echo "$row" | tee -a "$table"
  $found || missed=$((missed + 1))
done
echo "${#bugs[@]} planted, $missed not found"
exit $((missed > 0))
