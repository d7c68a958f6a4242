#!/usr/bin/env bash
# Tests the gateway end to end, with the SDKs of OpenAI and Anthropic and with Chromium, if that is installed, in a
# fresh environment.
# Usage: bash tests/gateway/run.sh PROGRAM FOLDER [pytest option...]
#   PROGRAM: r2-router; FOLDER: where the environment is made
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
export R2ROUTER_CLI=$1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_RETRIES=10
folder=$2
shift 2
if [ ! -x "$folder/bin/playwright" ]; then
  python3 -m venv "$folder"
  "$folder/bin/pip" install -q pytest openai anthropic jsonschema playwright
fi
exec "$folder/bin/python" -m pytest -q -rs -p no:cacheprovider "$root/tests/gateway" "$@"
