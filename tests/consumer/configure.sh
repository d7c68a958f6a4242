#!/usr/bin/env bash
# Configures the project as a subproject, and as on machines that lack GoogleTest or one half of it.
# Nothing is compiled.
# Usage: configure.sh WORK_FOLDER COMPILER
set -euo pipefail

mkdir -p "$1"
work=$(cd "$1" && pwd -P)
consumers=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source=$(cd "$consumers/../.." && pwd)
log=$work/configure.log

fail() {
  cat "$log" >&2
  echo "consumer (configure): $*" >&2
  exit 1
}

# configure FOLDER SOURCE [OPTION...]
configure() {
  rm -rf "${work:?}/$1"
  cmake -S "$2" -B "$work/$1" -G Ninja -DCMAKE_CXX_COMPILER="$compiler" "${@:3}" > "$log" 2>&1
}
compiler=$2

# As a subproject, without CLI11 and GoogleTest: the library only.
without=(-DCMAKE_DISABLE_FIND_PACKAGE_GTest=ON -DCMAKE_DISABLE_FIND_PACKAGE_CLI11=ON)
configure subproject "$consumers/subproject" -DR2ROUTER_SOURCE="$source" "${without[@]}" ||
  fail "a subproject cannot be configured"
cache=$work/subproject/CMakeCache.txt
! grep -q "^CMAKE_BUILD_TYPE:[A-Z]*=." "$cache" || fail "the parent got a build type"
! grep -q "^BUILD_SHARED_LIBS:" "$cache" || fail "BUILD_SHARED_LIBS is in the parent's cache"
! grep -q "^CMAKE_INSTALL_LIBDIR:" "$cache" || fail "install folders are in the parent's cache"
! grep -q r2router "$work/subproject/r2router/cmake_install.cmake" ||
  ! grep -qE "file\(INSTALL" "$work/subproject"/r2router/{,src/}cmake_install.cmake ||
  fail "the subproject has install rules"
configure subproject "$consumers/subproject" -DR2ROUTER_SOURCE="$source" "${without[@]}" \
  -DCMAKE_BUILD_TYPE=Debug -DBUILD_SHARED_LIBS=ON -DEXPECTED_CMAKE_BUILD_TYPE=Debug \
  -DEXPECTED_BUILD_SHARED_LIBS=ON || fail "the parent's build type or kind of library has changed"

# Without GoogleTest the library and the program are built, and one line says so.
configure none "$source" -DCMAKE_DISABLE_FIND_PACKAGE_GTest=ON || fail "GoogleTest is needed"
[[ $(grep -c "tests are disabled" "$log") == 1 ]] || fail "expected one line about the tests"
grep "tests are disabled" "$log" | grep -q "libgtest-dev libgmock-dev.*-DR2ROUTER_BUILD_TESTS=ON" ||
  fail "the line does not say how to enable the tests"
ninja -C "$work/none" -t query src/r2-router > /dev/null || fail "the program is not built"
! ninja -C "$work/none" -t targets all | grep -q r2router_tests || fail "the tests are built"
grep -q "^CMAKE_BUILD_TYPE:STRING=Release" "$work/none/CMakeCache.txt" || fail "expected a Release build"

# One half of it, as Debian's libgtest-dev without libgmock-dev.
half=$work/half-gtest/lib/cmake/GTest
mkdir -p "$half"
cat > "$half/GTestConfig.cmake" <<'EOF'
foreach(target gtest gtest_main)
  add_library(GTest::${target} INTERFACE IMPORTED)
endforeach()
EOF
echo 'set(PACKAGE_VERSION 1.12.1)
set(PACKAGE_VERSION_COMPATIBLE TRUE)' > "$half/GTestConfigVersion.cmake"
configure half "$source" -DGTest_DIR="$half" || fail "half of GoogleTest breaks the configuration"
grep -q "tests are disabled.*libgmock-dev" "$log" || fail "half of GoogleTest is not reported"

# Tests were requested: one error, which names both packages.
for missing in "-DCMAKE_DISABLE_FIND_PACKAGE_GTest=ON" "-DGTest_DIR=$half"; do
  ! configure asked "$source" "$missing" -DR2ROUTER_BUILD_TESTS=ON || fail "missing tests were passed over"
  [[ $(grep -c "CMake Error" "$log") == 1 ]] || fail "expected one error"
  tr -s ' \n' ' ' < "$log" | grep -q "apt-get install libgtest-dev libgmock-dev" ||
    fail "the error does not name both packages"
done
echo "configured as a subproject, and with GoogleTest missing"
