#!/usr/bin/env bash
# Builds the Python package as its users get it (a source archive and, from that alone and offline, a
# wheel), installs the wheel in a fresh environment and tests it there.
# Usage: bash tests/python/run.sh [pytest option...]
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cd "$root"
export PIP_DISABLE_PIP_VERSION_CHECK=1
folder=build/python
rm -rf "$folder"
mkdir -p "$folder"

environment() {
  python3 -m venv "$folder/$1"
  pip=$folder/$1/bin/pip
}

environment source
"$pip" install -q build
"$folder/source/bin/python" -m build -q --sdist --outdir "$folder/dist" > "$folder/sdist.log" 2>&1 ||
  { tail -n 30 "$folder/sdist.log"; exit 1; }
"$pip" download -q -d "$folder/wheelhouse" "scikit-build-core>=0.11" "pybind11>=3.0" "numpy>=1.23"

environment offline
offline=(--no-index --find-links "$folder/wheelhouse")
"$pip" install -q "${offline[@]}" scikit-build-core pybind11
"$pip" wheel -q "${offline[@]}" --no-build-isolation --no-deps -w "$folder/dist" "$folder"/dist/*.tar.gz
"$pip" install -q "${offline[@]}" "$folder"/dist/*.whl
(
  cd "$folder" # away from the source tree
  offline/bin/python -m r2_router --query "Solve the equation: 2x + 5 = 13"
  offline/bin/r2-router version
  offline/bin/r2-router info r2-router > info.txt
)

environment test
wheel=$(echo "$folder"/dist/*.whl)
"$pip" install -q "$wheel[test]"
"$folder/test/bin/auditwheel" show "$wheel"
exec "$folder/test/bin/python" -m pytest -q -rs "$@"
