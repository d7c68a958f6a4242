#!/usr/bin/env bash
# Builds the Python package with the gateway, as docs/pages/serving.md says, from its source archive; installs it in a
# fresh environment and tests it there.
# Usage: bash tests/gateway/package.sh FOLDER [pytest option...]
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
mkdir -p "$1"
folder=$(realpath "$1")
shift
export PIP_DISABLE_PIP_VERSION_CHECK=1
[[ -x $folder/venv/bin/python ]] || python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q build pytest
rm -rf "$folder/dist"
"$folder/venv/bin/python" -m build -q --sdist --outdir "$folder/dist" "$root"
"$folder/venv/bin/pip" install -q --force-reinstall --no-deps \
  --config-settings=cmake.define.R2ROUTER_BUILD_GATEWAY=ON --config-settings=build-dir="$folder/build" \
  "$folder"/dist/*.tar.gz
"$folder/venv/bin/pip" install -q numpy
export R2ROUTER_GATEWAY_PYTHON=$folder/venv/bin/python
exec "$folder/venv/bin/python" -m pytest -q -rs -p no:cacheprovider "$root/tests/gateway/test_package.py" "$@"
