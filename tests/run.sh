#!/usr/bin/env bash
# Runs the tests on a bare Debian machine: installs what is missing, builds, and ends with the summary of one
# CTest run, the number of skipped tests with reasons, and what failed.
#   release      GCC, warnings are errors: unit, golden and command-line tests, examples, benchmarks
#                built, outside consumers of a static and a shared installation, the Python package,
#                built and installed as its users get it; the format and some pitfalls of the sources
# With --full also:
#   asan-ubsan   Clang, warnings are errors, AddressSanitizer and UBSan: the same tests, and the fuzzers
#   tsan         Clang, ThreadSanitizer: the tests with threads
# Usage: bash tests/run.sh [--full] [ctest option...]
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
jobs=$(nproc)
full=
if [[ ${1:-} == --full ]]; then
  full=1
  shift
fi

packages=(g++ clang-format-14 clang-tidy-14 cmake ninja-build make pkg-config libeigen3-dev nlohmann-json3-dev libcli11-dev
  zlib1g-dev libbz2-dev liblzma-dev libcurl4-openssl-dev libgtest-dev libgmock-dev libbenchmark-dev openssl
  libboost1.81-dev libspdlog-dev prometheus-cpp-dev libsqlite3-dev libssl-dev libhiredis-dev redis-server
  nghttp2-server chromium python3 python3-venv python3-dev)
[[ -z $full ]] || packages+=(clang-14 libclang-rt-14-dev llvm-14 clang-19 libclang-rt-19-dev llvm-19)
bash .ci/install_packages.sh "${packages[@]}"

builds=()
build() {
  local preset=$1
  shift
  echo "== $preset"
  cmake --preset "$preset" -DR2ROUTER_WARNINGS_AS_ERRORS=ON "$@" > "build/$preset-configure.log" 2>&1 ||
    { tail -n 30 "build/$preset-configure.log"; exit 1; }
  cmake --build --preset "$preset" -j "$jobs"
  builds+=("$root/build/$preset")
}
mkdir -p build
build release -DCMAKE_CXX_COMPILER=g++
if [[ -n $full ]]; then
  build asan-ubsan
  build tsan -DR2ROUTER_BUILD_EXAMPLES=OFF -DR2ROUTER_BUILD_CLI=OFF
fi

# One run over the builds: one summary, and one exit code.
mkdir -p build/all
printf 'subdirs("%s")\n' "${builds[@]}" > build/all/CTestTestfile.cmake
status=0
rm -f build/all/junit.xml
ctest --test-dir build/all -j "$jobs" --output-on-failure --no-tests=error \
  --output-junit "$root/build/all/junit.xml" "$@" || status=$?
[[ ! -f build/all/junit.xml ]] || python3 tests/summary.py build/all/junit.xml
exit $status
