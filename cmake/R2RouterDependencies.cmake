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
  r2router_dependency(GTest VERSION 1.12 DEBIAN libgtest-dev
    REPOSITORY https://github.com/google/googletest.git TAG v1.14.0)
endif()
if(R2ROUTER_BUILD_BENCH)
  set(BENCHMARK_ENABLE_TESTING OFF)
  r2router_dependency(benchmark VERSION 1.7 DEBIAN libbenchmark-dev
    REPOSITORY https://github.com/google/benchmark.git TAG v1.8.5)
endif()
