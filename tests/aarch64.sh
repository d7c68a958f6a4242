#!/usr/bin/env bash
# Cross-compiles the library and its tests for 64-bit ARM and runs them under qemu-user (on Debian).
# The program r2-router is left out: qemu-user does not start it from a test.
# Usage: bash tests/aarch64.sh [ctest option...]
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=$root/build/aarch64
sysroot=$build/sysroot

bash "$root/.ci/install_packages.sh" cmake ninja-build g++-aarch64-linux-gnu qemu-user openssl python3

# The ARM libraries, and what they need to run, are unpacked into the build folder: the system gets no
# second architecture.
if [[ ! -f $sysroot/complete ]]; then
  mkdir -p "$build"/apt/{state/lists/partial,cache/archives/partial} "$sysroot"
  touch "$build/apt/status"
  apt() {
    apt-get -q -o APT::Architecture=arm64 -o APT::Architectures=arm64 -o Dir::State="$build/apt/state" \
      -o Dir::State::status="$build/apt/status" -o Dir::Cache="$build/apt/cache" \
      -o APT::Sandbox::User="$(id -un)" -o Acquire::Retries=3 "$@"
  }
  apt update
  apt install --yes --download-only --no-install-recommends zlib1g-dev libbz2-dev \
    liblzma-dev libcurl4-openssl-dev libgtest-dev libgmock-dev libeigen3-dev nlohmann-json3-dev libstdc++6
  for package in "$build"/apt/cache/archives/*.deb; do
    dpkg-deb -x "$package" "$sysroot"
  done
  touch "$sysroot/complete"
fi

cmake -S "$root" -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release \
  -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64 \
  -DCMAKE_CXX_COMPILER=aarch64-linux-gnu-g++ \
  -DCMAKE_FIND_ROOT_PATH="$sysroot" -DCMAKE_FIND_ROOT_PATH_MODE_PACKAGE=ONLY \
  -DCMAKE_FIND_ROOT_PATH_MODE_LIBRARY=ONLY -DCMAKE_FIND_ROOT_PATH_MODE_INCLUDE=ONLY \
  -DCMAKE_EXE_LINKER_FLAGS="-Wl,-rpath-link,$sysroot/usr/lib/aarch64-linux-gnu:$sysroot/lib/aarch64-linux-gnu" \
  -DCMAKE_CROSSCOMPILING_EMULATOR="qemu-aarch64;-L;$sysroot" \
  -DR2ROUTER_WARNINGS_AS_ERRORS=ON -DR2ROUTER_BUILD_CLI=OFF -DR2ROUTER_BUILD_EXAMPLES=OFF -DR2ROUTER_INSTALL=OFF
cmake --build "$build" -j "$(nproc)"
# Left out: what builds for this machine.
exec ctest --test-dir "$build" -j "$(nproc)" -E '^(consumer|python)' --output-on-failure --no-tests=error "$@"
