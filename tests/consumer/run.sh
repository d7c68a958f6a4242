#!/usr/bin/env bash
# Installs the library, moves the installation, and builds and runs two outside projects against it: one
# with CMake's find_package, one with pkg-config.
# Usage: run.sh static|shared WORK_FOLDER [COMPILER [BUILD_FOLDER_OF_THAT_KIND]]
set -euo pipefail

kind=$1
mkdir -p "$2"
work=$(cd "$2" && pwd -P)
compiler=${3:-c++}
consumers=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source=$(cd "$consumers/../.." && pwd)

fail() {
  echo "consumer ($kind): $*" >&2
  exit 1
}

build=${4:-}
if [[ -z $build ]]; then
  build=$work/build
  shared=OFF
  [[ $kind == shared ]] && shared=ON
  # How it is linked and installed does not depend on optimisation, which takes half the time.
  cmake -S "$source" -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DCMAKE_CXX_COMPILER="$compiler" \
    -DCMAKE_CXX_FLAGS_RELEASE="-O1 -DNDEBUG" -DBUILD_SHARED_LIBS=$shared -DR2ROUTER_BUILD_TESTS=OFF -DR2ROUTER_BUILD_EXAMPLES=OFF
  cmake --build "$build" -j "$(nproc)"
fi

# An installation must work wherever it is put.
rm -rf "$work/first" "$work/moved"
cmake --install "$build" --prefix "$work/first" > "$work/install.log"
mv "$work/first" "$work/moved"
prefix=$work/moved
pkgconfig=$(dirname "$(find "$prefix" -name r2router.pc)")
export PKG_CONFIG_PATH=$pkgconfig
checkpoint=$(pkg-config --variable=default_checkpoint r2router)
[[ $(realpath "$checkpoint") == "$prefix"/* ]] || fail "the .pc file names $checkpoint"

# The pools and the licence are installed too.
for file in "$source"/config/*.json; do
  [[ -f $prefix/share/r2router/config/$(basename "$file") ]] || fail "$(basename "$file") is not installed"
done
[[ -n $(find "$prefix/share/doc" -name LICENSE) ]] || fail "LICENSE is not installed"
# What the program writes about itself.
for file in man/man1/r2-router.1 man/man1/r2-router-models-sync.1 zsh/site-functions/_r2-router \
  bash-completion/completions/r2-router fish/vendor_completions.d/r2-router.fish; do
  [[ -s $prefix/share/$file ]] || fail "share/$file is not installed"
done

# Public headers must compile alone and expose no third-party types.
(cd "$prefix/include" && find r2router -name '*.h' -printf '#include <%p>\n') |
  "$compiler" -std=c++20 -fsyntax-only -Wall -Wextra -Werror -I"$prefix/include" -x c++ -

rm -rf "$work"/{cmake,decide,pkg-config}
consumer() {
  cmake -S "$consumers/cmake" -B "$work/$1" -G Ninja -DCMAKE_PREFIX_PATH="$prefix" \
    -DCMAKE_CXX_COMPILER="$compiler" "${@:2}"
  cmake --build "$work/$1"
}
consumer cmake
# Without libcurl, one can still decide.
consumer decide -DDECIDE_ONLY=ON -DCMAKE_DISABLE_FIND_PACKAGE_CURL=ON

mkdir -p "$work/pkg-config"
linkage=--static
[[ $kind == shared ]] && linkage=
make -C "$consumers/pkg-config" CXX="$compiler" OUTPUT="$work/pkg-config" LINKAGE=$linkage
! readelf -d "$work"/{cmake,decide,pkg-config}/consumer | grep -qE "curl|r2router_llm|r2router_train" ||
  fail "a program that only decides is linked to libcurl, or to another component"

export LD_LIBRARY_PATH=$(dirname "$pkgconfig")
expected=
for program in "$work"/{cmake,decide,pkg-config}/consumer; do
  output=$("$program" "$checkpoint")
  echo "$output"
  grep -q "^error: invalid_argument$" <<< "$output" || fail "$program did not see the library's error"
  [[ -z $expected || $output == "$expected" ]] || fail "the two consumers disagree"
  expected=$output
done
for program in "$work"/{cmake,pkg-config}/consumer_answer; do
  output=$("$program" "$checkpoint")
  [[ $output == $'answer: connection\noutcomes: not_found' ]] || fail "$program: $output"
done

# A moved shared library, and the moved program, find the checkpoint that was installed with them.
if [[ $kind == shared ]]; then
  "$work/cmake/consumer" | grep -qF "checkpoint: $prefix/" || fail "default checkpoint not found by library"
fi
"$prefix/bin/r2-router" info | grep -qF "$prefix/" || fail "default checkpoint not found by r2-router"
"$prefix/bin/r2-router" info r2-router | grep -qF "$prefix/" || fail "checkpoint r2-router not found by name"
[[ -s $prefix/share/r2router/checkpoints/r2-router/LICENSE ]] || fail "the licence of r2-router is not installed"
"$prefix/bin/r2-router" route --query "Solve the equation: 2x + 5 = 13"
