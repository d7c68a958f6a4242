# Dependencies: those of the system, or, with R2ROUTER_FETCH_DEPENDENCIES, downloaded where they are missing.
include(FetchContent)

# r2router_dependency(<package> VERSION <least> REPOSITORY <url> TAG <tag> DEBIAN <package>)
macro(r2router_dependency name)
  cmake_parse_arguments(dependency "" "VERSION;REPOSITORY;TAG;DEBIAN" "" ${ARGN})
  find_package(${name} ${dependency_VERSION} QUIET)
  if(NOT ${name}_FOUND)
    if(R2ROUTER_FETCH_DEPENDENCIES)
      FetchContent_Declare(${name} GIT_REPOSITORY ${dependency_REPOSITORY} GIT_TAG ${dependency_TAG}
                           GIT_SHALLOW TRUE SYSTEM EXCLUDE_FROM_ALL)
      FetchContent_MakeAvailable(${name})
    else()
      message(FATAL_ERROR "${name} ${dependency_VERSION} was not found. On Debian: "
        "apt-get install ${dependency_DEBIAN}. Elsewhere: install it, or set "
        "-DR2ROUTER_FETCH_DEPENDENCIES=ON to have it downloaded.")
    endif()
  endif()
endmacro()

find_package(Threads REQUIRED)
find_package(ZLIB REQUIRED)
# Optional: released checkpoints that are compressed with bz2, xz or lzma.
find_package(BZip2 QUIET)
find_package(LibLZMA QUIET)
foreach(library BZip2 LibLZMA)
  if(NOT ${library}_FOUND)
    message(STATUS "${library} was not found: checkpoints compressed with it cannot be read")
  endif()
endforeach()
# 7.87: a name look-up that is given up is not waited for.
find_package(CURL 7.87 REQUIRED)
set(JSON_BuildTests OFF)
set(EIGEN_BUILD_TESTING OFF)
set(EIGEN_BUILD_DOC OFF)
r2router_dependency(Eigen3 VERSION 3.4 DEBIAN libeigen3-dev
  REPOSITORY https://gitlab.com/libeigen/eigen.git TAG 3.4.0)
r2router_dependency(nlohmann_json VERSION 3.11 DEBIAN nlohmann-json3-dev
  REPOSITORY https://github.com/nlohmann/json.git TAG v3.11.3)
if(R2ROUTER_BUILD_CLI OR R2ROUTER_BUILD_PYTHON)
  r2router_dependency(CLI11 VERSION 2.1 DEBIAN libcli11-dev
    REPOSITORY https://github.com/CLIUtils/CLI11.git TAG v2.4.2)
endif()
if(R2ROUTER_BUILD_TESTS)
  # Debian packages the two halves apart.
  find_package(GTest 1.12 QUIET)
  if(NOT (TARGET GTest::gtest_main AND TARGET GTest::gmock))
    set(missing "GoogleTest 1.12 with GoogleMock was not found. On Debian: apt-get install libgtest-dev libgmock-dev")
    if(R2ROUTER_FETCH_DEPENDENCIES AND NOT GTest_FOUND)
      set(INSTALL_GTEST OFF)
      FetchContent_Declare(GTest GIT_REPOSITORY https://github.com/google/googletest.git GIT_TAG v1.14.0
                           GIT_SHALLOW TRUE SYSTEM EXCLUDE_FROM_ALL)
      FetchContent_MakeAvailable(GTest)
    elseif(R2ROUTER_BUILD_TESTS STREQUAL "AUTO")
      message(STATUS "The tests are disabled: ${missing}, then configure with -DR2ROUTER_BUILD_TESTS=ON")
      set(R2ROUTER_BUILD_TESTS OFF)
    else()
      message(FATAL_ERROR "${missing}. Or configure with -DR2ROUTER_BUILD_TESTS=OFF.")
    endif()
  endif()
endif()
if(R2ROUTER_BUILD_BENCH)
  set(BENCHMARK_ENABLE_TESTING OFF)
  r2router_dependency(benchmark VERSION 1.7 DEBIAN libbenchmark-dev
    REPOSITORY https://github.com/google/benchmark.git TAG v1.8.5)
endif()
