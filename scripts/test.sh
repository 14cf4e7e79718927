#!/usr/bin/env bash
# Builds Kvasir and runs every test, stage by stage.
# shellcheck disable=SC2317 # stages and linters are called by their names
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

STAGES=(setup build test cuda clients lint asan tsan fuzz)
QUICK_STAGES=(setup build test lint)
MOST_TIDY_FILES=120 # six minutes on two CPUs

usage() {
  cat <<'TEXT'
Usage: scripts/test.sh [--quick] [--stage=NAME]... [--all-files] [--help]

  setup    scripts/setup.sh test
  build    the release build, the GPU's library among it where nvcc is found
  test     unit, integration and house tests: ctest without the labels slow and simt
  cuda     the GPU's kernels, host code and machine code, and the engine on an emulated GPU: ctest
           with the label simt; some planted bugs, which it must find. Fails where the GPU's library
           was not built, for want of nvcc, unless KVASIR_WITHOUT_NVCC is 1
  clients  clients/ against live services
  lint     clang-format, clang-tidy, shellcheck, ruff, buf
  asan     AddressSanitizer and UBSan: tests of engine, tokenizer and model download
  tsan     ThreadSanitizer: tests of the engine, the gateway and model download
  fuzz     every libFuzzer target for a short time, from its seed corpus

Without options every stage runs. The exit code is 0 when each of them passed.

  --quick       only setup, build, test and lint
  --stage=NAME  only this stage; may be given again
  --all-files   clang-tidy reads every file, not only what differs from the base, of that 120 files at
                most, Kvasir's own before its tests' (the nightly run reads all). The base is the commit in
                KVASIR_LINT_BASE, else where HEAD left origin/main, else the last one that is a day
                older than HEAD; with none of them, every file

KVASIR_FUZZ_SECONDS (default 20) is the time for each fuzz target. Logs are in build/logs.
TEXT
}

jobs=$(nproc)
all_files=false
# Clones of the project share what ccache holds.
export CCACHE_BASEDIR=$PWD CCACHE_NOHASHDIR=true
export KVASIR_FUZZ_SECONDS=${KVASIR_FUZZ_SECONDS:-20}

# Stages write to their logs; descriptor 3 is the line of the report.
note() {
  echo "$*" >&3
}

build_preset() {
  local preset=$1
  shift
  cmake --preset "$preset"
  cmake --build "build/$preset" --parallel "$jobs" --target "$@"
}

# Sanitizers of this age do not start where the kernel randomises more address bits than they
# expect. A container may forbid the switch; then they run as they are.
fixed_addresses=()
if setarch --addr-no-randomize true 2>/dev/null; then
  fixed_addresses=(setarch --addr-no-randomize)
fi

# Runs the tests of a build folder. One that skips itself has failed: nobody asked for that.
run_ctest() {
  local folder=$1 status=0
  shift
  "${fixed_addresses[@]}" ctest --test-dir "$folder" --parallel "$jobs" --no-tests=error --output-on-failure \
    "$@" || status=$?
  local log=$folder/Testing/Temporary/LastTest.log
  note "$(grep -c '^Test Passed\.$' "$log") test programs passed"
  if grep -n -F '[  SKIPPED ]' "$log"; then
    echo "a test skipped itself: see $log"
    status=1
  fi
  return "$status"
}

stage_setup() {
  scripts/setup.sh test
}

stage_build() {
  build_preset release all
}

stage_test() {
  run_ctest build/release --label-exclude 'slow|simt'
}

stage_cuda() {
  if [[ ! -f build/release/bin/libkvasir_cuda.so ]]; then
    note "the GPU's library was not built: there is no nvcc"
    [[ ${KVASIR_WITHOUT_NVCC:-} == 1 ]] || {
      echo "set KVASIR_WITHOUT_NVCC=1 where that is meant to be so"
      return 1
    }
  fi
  run_ctest build/release --label-regex simt
  scripts/simt-bugs.sh --plain BUG_ATTENTION_MASK BUG_GRAPH_UNPADDED BUG_MATMUL_FRAGMENT \
    BUG_SAMPLE_FLOAT_SUM BUG_UPLOAD_CLEARED_LATE
}

stage_clients() {
  scripts/clients.sh
  local story
  story=$(scripts/with_services.sh build/tools/venv/bin/python clients/openai/chat.py)
  echo "chat.py: $story"
  [[ $story == *Mara*Mara*"tokens reused"* ]]
  scripts/with_services.sh build/release/bin/kvasir-demo
  note "the Python and Node clients, examples in C++, Go, Java, the OpenAI client, the demo"
}

stage_asan() {
  build_preset asan all
  UBSAN_OPTIONS=print_stacktrace=1 run_ctest build/asan --label-exclude slow
}

stage_tsan() {
  build_preset tsan tests/engine/all tests/services/gateway/all tests/services/hub/all
  # Numerics of one thread have nothing to race with, and take minutes here.
  TSAN_OPTIONS="halt_on_error=1 suppressions=$PWD/tests/engine/thread_sanitizer_suppressions.txt" \
    run_ctest build/tsan/tests/engine --label-exclude slow \
    --exclude-regex '^(parity|layer_comparison)_test$'
  local folder
  for folder in gateway hub; do
    TSAN_OPTIONS=halt_on_error=1 run_ctest "build/tsan/tests/services/$folder"
  done
}

# What a target finds goes to build/fuzz/found; new inputs that reach new code to build/fuzz/corpus.
run_fuzz_target() {
  local name=$1
  local seeds=tests/fuzz/corpus/$name log=build/logs/fuzz-$name.log
  if [[ -z $(ls "$seeds") ]]; then
    echo "$name: no seeds in $seeds"
    return 1
  fi
  mkdir -p "build/fuzz/corpus/$name" build/fuzz/found
  echo "$name: log in $log"
  if ! "build/fuzz/fuzz/$name" "build/fuzz/corpus/$name" "$seeds" \
    -max_total_time="$KVASIR_FUZZ_SECONDS" -timeout=10 -rss_limit_mb=4096 -print_final_stats=1 \
    -artifact_prefix="build/fuzz/found/$name-" >"$log" 2>&1; then
    tail -n 60 "$log"
    echo "$name: FAILED; the input is in build/fuzz/found"
    return 1
  fi
  grep -h 'number_of_executed_units' "$log"
}

stage_fuzz() {
  build_preset fuzz fuzz_targets
  local sources=(tests/fuzz/*_fuzz.cc)
  local targets=("${sources[@]/#tests/build/fuzz}")  # a source without a target fails here
  targets=("${targets[@]%.cc}")
  export -f run_fuzz_target
  note "${#targets[@]} targets, $KVASIR_FUZZ_SECONDS s each"
  # shellcheck disable=SC2016 # the inner shell expands it
  basename -a "${targets[@]}" |
    "${fixed_addresses[@]}" xargs -P "$jobs" -n 1 bash -c 'run_fuzz_target "$1"' fuzz
}

# The project's files with one of these name patterns, NUL after each.
project_files() {
  git ls-files -z --cached --others --exclude-standard -- "$@"
}

# The commit that clang-tidy compares with; nothing: none is known.
lint_base() {
  if [[ -n ${KVASIR_LINT_BASE:-} ]]; then
    git rev-parse --verify "$KVASIR_LINT_BASE^{commit}"
    return
  fi
  local base
  base=$(git merge-base HEAD origin/main 2>/dev/null) || base=
  if [[ -n $base && $base != $(git rev-parse HEAD) ]]; then
    echo "$base"
    return
  fi
  git rev-list -1 --before=$(($(git log -1 --format=%ct) - 86400)) HEAD
}

# The C++ files to read, one a line.
tidy_files() {
  # What is not built here (for want of a library) cannot be read either.
  changed_files "$1" | grep -Fxf <(sed -n "s|^ *\"file\": \"$PWD/\(.*\)\",\?$|\1|p" \
    build/release/compile_commands.json) || true
}

# Those that changed and, for each header that did, one that shows it to clang-tidy: its own, or the
# first that includes it.
changed_files() {
  local base=$1
  if $all_files || [[ -z $base ]] || ! git diff --quiet "$base" -- .clang-tidy; then
    project_files '*.cc' | tr '\0' '\n'
    return
  fi
  {
    git diff --name-only --diff-filter=d "$base" -- '*.cc' '*.h'
    git ls-files --others --exclude-standard -- '*.cc' '*.h'
  } | while read -r file; do
    if [[ $file == *.cc ]]; then
      echo "$file"
    elif [[ -f ${file%.h}.cc ]]; then
      echo "${file%.h}.cc"
    else
      git grep -l --untracked -F "#include \"$file\"" -- '*.cc' | head -n 1 || true
    fi
  done | sort -u
}

lint_clang_format() {
  project_files '*.cc' '*.h' '*.cu' '*.cuh' | xargs -0 clang-format-14 --dry-run -Werror
}

lint_clang_tidy() {
  build_preset release kvasir_proto
  local base files changed most=$MOST_TIDY_FILES
  base=$(lint_base)
  files=$(tidy_files "$base")
  changed=$(grep -c . <<<"$files" || true)
  # Kvasir's own before its tests'.
  $all_files && most=$changed
  files=$({ grep -v '^tests/' <<<"$files" || true; grep '^tests/' <<<"$files" || true; } |
    head -n "$most")
  note "clang-tidy: $(grep -c . <<<"$files" || true) of $changed changed files," \
    "$(project_files '*.cc' | tr '\0' '\n' | wc -l) in all"
  xargs -r -P "$jobs" -n 1 clang-tidy-14 -p build/release --quiet \
    --extra-arg=-Wno-unknown-warning-option <<<"$files" 2>&1 | sed '/ warnings generated\.$/d'
}

lint_shellcheck() {
  project_files '*.sh' .ci/run | xargs -0 shellcheck
}

lint_ruff() {
  build/tools/venv/bin/ruff check
  build/tools/venv/bin/ruff format --check
}

lint_buf() {
  build/tools/npm/node_modules/.bin/buf lint proto
}

stage_lint() {
  local linter status failed=0
  for linter in clang_format shellcheck ruff buf clang_tidy; do
    echo "== $linter"
    set +e
    (
      set -e
      "lint_$linter"
    )
    status=$?
    set -e
    if [[ $status -ne 0 ]]; then
      note "$linter failed"
      failed=1
    fi
  done
  return "$failed"
}

run_stage() {
  local name=$1 log=build/logs/$1.log start=$SECONDS status
  printf '%-8s ... ' "$name"
  # Not in a condition: there, a failing command would not end the stage.
  set +e
  (
    set -e
    "stage_$name"
  ) >"$log" 2>&1 3>"build/logs/$name.note" </dev/null
  status=$?
  set -e
  local verdict=passed
  [[ $status -eq 0 ]] || verdict=FAILED
  local line
  line=$(printf '%s %5d s  %s' "$verdict" $((SECONDS - start)) \
    "$(paste -sd ';' "build/logs/$name.note" | sed 's/;/; /g')")
  echo "$line"
  report+=("$(printf '%-8s %s' "$name" "$line")")
  if [[ $status -ne 0 ]]; then
    failed=$((failed + 1))
    echo "---- the end of $log"
    tail -n 100 "$log"
    echo "----"
  fi
}

parse_arguments() {
  stages=()
  for argument in "$@"; do
    case $argument in
      --quick) stages+=("${QUICK_STAGES[@]}") ;;
      --all-files) all_files=true ;;
      --stage=*)
        local stage=${argument#--stage=}
        if [[ " ${STAGES[*]} " != *" $stage "* ]]; then
          echo "test.sh: no stage '$stage'; there are: ${STAGES[*]}" >&2
          exit 2
        fi
        stages+=("$stage")
        ;;
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
  if [[ ${#stages[@]} -eq 0 ]]; then
    stages=("${STAGES[@]}")
  fi
}

parse_arguments "$@"
mkdir -p build/logs
failed=0
report=()
for stage in "${stages[@]}"; do
  run_stage "$stage"
done
printf '\n%s\n' "Stages, after $SECONDS s:"
printf '  %s\n' "${report[@]}"
echo "$((${#stages[@]} - failed)) passed, $failed failed"
exit $((failed > 0))
