#!/usr/bin/env bash
# From a bare Debian machine to a routed prompt: installs what is missing, builds, routes.
# Usage: bash examples/quickstart.sh ["a prompt" [option of r2-router route...]]
set -euo pipefail

prompt=${1-"Solve the equation: 2x + 5 = 13"}
[[ $# -eq 0 ]] || shift
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=$root/build/quickstart
log=$build/quickstart.log

# Progress goes to standard error, so that standard output contains only the answer.
run() {
  echo "$1" >&2
  shift
  if ! "$@" 2>&1 | tee "$log" | show_progress; then
    tail -n 30 "$log" >&2
    echo "Failed: $* (the complete output is in $log)" >&2
    exit 1
  fi
}

# On a terminal, the "[12/40]" of each of Ninja's lines.
show_progress() {
  local line
  while IFS= read -r line; do
    if [[ -t 2 && $line == \[* ]]; then printf '\r  %s] ' "${line%%]*}" >&2; fi
  done
  if [[ -t 2 ]]; then printf '\r\033[K' >&2; fi
}

bash "$root/.ci/install_packages.sh" \
  g++ cmake ninja-build libeigen3-dev nlohmann-json3-dev libcli11-dev zlib1g-dev libbz2-dev \
  liblzma-dev libcurl4-openssl-dev

mkdir -p "$build"
if [[ ! -f $build/build.ninja ]]; then
  run "Configuring" cmake -S "$root" -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release \
    -DR2ROUTER_BUILD_TESTS=OFF -DR2ROUTER_BUILD_EXAMPLES=OFF
  run "Building (about ten minutes on two cores, the first time)" cmake --build "$build" --target r2-router
else
  run "Building changed files" cmake --build "$build" --target r2-router
fi
exec "$build/src/r2-router" route --query "$prompt" "$@"
