#!/usr/bin/env bash
# Shows on the GPU at hand what elsewhere can only be emulated or predicted, part by part.
# shellcheck disable=SC2317 # parts are called by their names
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

# In this order: what is slow and tells the least comes last.
PARTS=(info kernels parity i1 bench plot sanitizer)
declare -A LIMITS=([info]=20 [kernels]=60 [parity]=60 [i1]=60 [bench]=210 [plot]=10 [sanitizer]=110)
BUDGET=535 # seconds for all parts
KERNEL_TESTS=(rowwise matmul attention sample)
BACKEND_TESTS=(decode_graphs cublaslt)
PROGRAMS=("${KERNEL_TESTS[@]/%/_gpu_test}" "${BACKEND_TESTS[@]/%/_gpu_test}" gpu_parity_test
  continuation_test host_kv_gpu_test device_limits gpu_bench)

usage() {
  cat <<'TEXT'
Usage: tests/gpu/run.sh [--part=NAME]... [--build] [--build-dir=DIR] [--out=DIR] [--help]

  info       the device, its driver, cuBLASLt
  kernels    every kernel's tests on the device, steps as graphs against their verbs, and cuBLASLt's
             products where it is found
  parity     the numerics gate: against transformers' golden files
  i1         exact continuation, deterministic: the engine's bits do not depend on how work is cut, nor
             on what was kept in the host's memory
  bench      the device's limits, then decode and prefill of models with random weights
  plot       a picture of that: OUT/bench.svg
  sanitizer  compute-sanitizer over the tests of kernels: memcheck, racecheck, synccheck

Without --part all of them run, within nine minutes. OUT/NAME.json says how a part ended, OUT/NAME.log
what it printed. A part that passed, with the same programs on the same device, is not run again:
remove its .json for that. A goal that is missed is shown and is no failure.

  --part=NAME      only this part; may be given again
  --build          build first, for the device at hand: needs CMake, nvcc and what
                   scripts/setup.sh installs
  --build-dir=DIR  where the programs are (default build/gpu); libraries that they need and this
                   machine lacks may lie in DIR/lib
  --out=DIR        where results go (default build/gpu-results)

Exit code: 0 all passed or skipped, 1 a part failed, 2 nothing could be run.
TEXT
}

build=build/gpu
out=build/gpu-results
with_build=false
parts=()

parse_arguments() {
  local argument
  for argument in "$@"; do
    case $argument in
      --part=*)
        if [[ " ${PARTS[*]} " != *" ${argument#--part=} "* ]]; then
          echo "run.sh: no part '${argument#--part=}'; there are: ${PARTS[*]}" >&2
          exit 2
        fi
        parts+=("${argument#--part=}")
        ;;
      --build) with_build=true ;;
      --build-dir=?*) build=${argument#*=} ;;
      --out=?*) out=${argument#*=} ;;
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
  if [[ ${#parts[@]} -eq 0 ]]; then
    parts=("${PARTS[@]}")
  fi
}

# Parts write to their logs; descriptor 3 is the line of the report.
note() {
  echo "$*" >&3
}

query() {
  nvidia-smi --query-gpu="$1" --format=csv,noheader --id=0
}

find_gpu() {
  gpus=$(nvidia-smi -L 2>/dev/null) || gpus=
  if [[ $gpus != *GPU* ]]; then
    echo "run.sh: no GPU: nvidia-smi finds none" >&2
    exit 2
  fi
}

build_programs() {
  local architecture
  architecture=$(query compute_cap)
  cmake --preset release -B "$build" -DKVASIR_CUDA=ON -DKVASIR_SERVICES=OFF \
    -DKVASIR_CUDA_ARCHITECTURES="${architecture//[ .]/}"
  cmake --build "$build" --parallel "$(nproc)" --target kvasir_cuda "${PROGRAMS[@]}"
}

# The programs' absolute places, and what they and the device are known by.
find_programs() {
  local program
  build=$(realpath -m "$build")
  plugin=$build/bin/libkvasir_cuda.so
  for program in "$plugin" "${PROGRAMS[@]/#/$build/tests/}"; do
    if [[ ! -f $program ]]; then
      echo "run.sh: no $program: give --build, or --build-dir" >&2
      exit 2
    fi
  done
  stamp=$({
    echo "$gpus"
    cat "$plugin" "${PROGRAMS[@]/#/$build/tests/}"
  } | sha256sum | cut -c1-16)
}

# cuBLASLt where the dynamic linker looks, or in a Python package.
find_libraries() {
  if [[ -d $build/lib ]]; then
    export LD_LIBRARY_PATH=$build/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
  fi
  with_cublaslt=true
  if ldconfig -p 2>/dev/null | grep -F libcublasLt.so >/dev/null ||
    compgen -G "$build/lib/libcublasLt.so.*" >/dev/null; then
    return
  fi
  local folder
  folder=$(python3 -c 'import glob, os, sys
found = [f for p in sys.path for f in glob.glob(p + "/nvidia/*/lib/libcublasLt.so.1[23]")]
print(os.path.dirname(found[0]) if found else "")' || true)
  if [[ -z $folder ]]; then
    with_cublaslt=false
  else
    export LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$folder
  fi
}

# Runs a command within what is left of the part's time.
limited() {
  local left=$((deadline - SECONDS))
  if [[ $left -le 0 ]]; then
    note "no time was left for $(basename "$1")"
    return 1
  fi
  timeout --kill-after=5 "$left" "$@" || {
    local status=$?
    note "$(basename "$1") $([[ $status -eq 124 ]] && echo "ran past $left s" || echo "exit $status")"
    return "$status"
  }
}

# A test program that runs no test, or skips one, has failed.
run_tests() {
  limited "$@" | tee "$out/tests.tmp" || return 1
  local passed
  passed=$(sed -n 's/^\[  PASSED  \] \([1-9][0-9]*\) tests\{0,1\}\.$/\1/p' "$out/tests.tmp")
  if [[ -z $passed ]] || grep -F '[  SKIPPED ]' "$out/tests.tmp"; then
    note "$(basename "$1"): no tests, or skipped ones"
    return 1
  fi
  tests=$((tests + passed))
}

part_info() {
  nvidia-smi
  query name,driver_version,memory.total,compute_cap,power.limit,clocks.max.sm,clocks.max.memory
  note "$(query name), driver $(query driver_version), $(query memory.total)"
}

part_kernels() {
  local name failed=0
  for name in "${KERNEL_TESTS[@]}" "${BACKEND_TESTS[@]}"; do
    if [[ $name == cublaslt && $with_cublaslt == false ]]; then
      note "cuBLASLt was not found"
      continue
    fi
    run_tests "$build/tests/${name}_gpu_test" || failed=1
  done
  note "$tests tests passed"
  return "$failed"
}

part_parity() {
  KVASIR_TEST_GPU_PLUGIN=$plugin run_tests "$build/tests/gpu_parity_test"
  note "$tests tests passed"
}

part_i1() {
  local name
  for name in continuation_test host_kv_gpu_test; do
    KVASIR_TEST_GPU_PLUGIN=$plugin run_tests "$build/tests/$name"
  done
  note "$tests tests passed"
}

part_bench() {
  local failed=0
  rm -f "$out"/bench-*.jsonl "$out"/{limits,plot}.json
  limited "$build/tests/device_limits" >"$out/limits.json"
  cat "$out/limits.json"
  bench 4b --shape=4b || failed=1
  bench 0.6b --shape=0.6b || failed=1
  bench 4b-deterministic --shape=4b --deterministic --batches=1,64 --contexts=0,4096 \
    --prompts=4096 --prompt-depths=0 || failed=1
  python3 tests/gpu/table.py "$out" | tee "$out/bench.txt"
  note "$(sed -n 's/^goals met: //p' "$out/bench.txt") goals met, the table is $out/bench.txt"
  return "$failed"
}

bench() {
  limited "$build/tests/gpu_bench" --plugin="$plugin" "${@:2}" >"$out/bench-$1.jsonl"
}

part_plot() {
  if [[ ! -s $out/limits.json ]]; then
    note "no figures: the part bench has not run"
    return 1
  fi
  python3 tests/gpu/plot.py "$out" "$out/bench.svg"
  note "$out/bench.svg"
}

part_sanitizer() {
  local sanitizer
  sanitizer=$(command -v compute-sanitizer || command -v /usr/local/cuda/bin/compute-sanitizer) || {
    note "compute-sanitizer is not installed"
    touch "$out/skipped.tmp"
    return 0
  }
  # A kernel runs up to a hundred times as long under it, so of the slow ones only a few sizes.
  local -A filters=(
    [rowwise]='-*Refuses*'
    [matmul]='*.GatedIsBitwise*:*.TouchesOnlyWhatItNames:*.NanAndInfinityPass'
    [attention]='*Shapes.*/G4K1D128:*Shapes.*/G5K1D32'
    [sample]='*.AgreesWithTheCpuOnRandomRows:*.PenaltiesCount*'
  )
  local tool name failed=0
  for tool in memcheck synccheck racecheck; do
    for name in "${KERNEL_TESTS[@]}"; do
      echo "== $tool $name"
      run_tests "$sanitizer" --tool="$tool" --error-exitcode=9 "$build/tests/${name}_gpu_test" \
        --gtest_filter="${filters[$name]}" || {
        note "$tool $name FAILED"
        failed=1
      }
    done
  done
  note "$tests tests passed"
  return "$failed"
}

# How a part ended, so that it need not run again.
write_result() {
  local name=$1 status=$2 seconds=$3 text=$4
  printf '{"part": "%s", "status": "%s", "seconds": %d, "stamp": "%s", "note": "%s"}\n' "$name" \
    "$status" "$seconds" "$stamp" "$(tr -d '\\"' <<<"$text")" >"$out/$name.json"
}

passed_before() {
  [[ -f $out/$1.json ]] && grep -F '"status": "passed"' "$out/$1.json" | grep -qF "\"$stamp\""
}

run_part() {
  local name=$1 log=$out/$1.log start=$SECONDS code verdict text
  printf '%-9s ... ' "$name"
  if passed_before "$name"; then
    text=$(sed 's/.*"note": "\(.*\)"}/\1/' "$out/$name.json")
    verdict="passed before"
  else
    rm -f "$out/$name.json" "$out/skipped.tmp"
    deadline=$((start + LIMITS[$name]))
    if [[ $deadline -gt $BUDGET ]]; then
      deadline=$BUDGET
    fi
    # Not in a condition: there, a failing command would not end the part.
    set +e
    (
      set -e
      tests=0
      "part_$name"
    ) >"$log" 2>&1 3>"$out/note.tmp" </dev/null
    code=$?
    set -e
    verdict=passed
    if [[ $code -ne 0 ]]; then
      verdict=FAILED
    elif [[ -f $out/skipped.tmp ]]; then
      verdict=skipped
    fi
    text=$(paste -sd ';' "$out/note.tmp" | sed 's/;/; /g')
    write_result "$name" "${verdict,,}" $((SECONDS - start)) "$text"
    rm -f "$out"/{note,tests,skipped}.tmp
  fi
  local line
  line=$(printf '%-13s %4d s  %s' "$verdict" $((SECONDS - start)) "$text")
  echo "$line"
  report+=("$(printf '%-9s %s' "$name" "$line")")
  if [[ $verdict == FAILED ]]; then
    failed=$((failed + 1))
    echo "---- the end of $log"
    tail -n 40 "$log"
    echo "----"
  fi
}

parse_arguments "$@"
find_gpu
if $with_build; then
  build_programs
fi
find_programs
find_libraries
mkdir -p "$out"
SECONDS=0
failed=0
report=()
for part in "${parts[@]}"; do
  run_part "$part"
done
printf '\n%s\n' "Parts, after $SECONDS s:"
printf '  %s\n' "${report[@]}"
if [[ -f $out/bench.txt && " ${parts[*]} " == *" bench "* ]]; then
  printf '\n%s\n' "$(<"$out/bench.txt")"
fi
exit $((failed > 0))
