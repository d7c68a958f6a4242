#!/usr/bin/env bash
# Tests the gateway with the clients of docs/pages/clients.md, installed from PyPI and npm into a folder: about 2 GB.
# What cannot be installed is skipped.
# Usage: bash tests/gateway/clients.sh PROGRAM FOLDER [pytest option...]
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
program=$(realpath "$1")
mkdir -p "$2"
folder=$(realpath "$2")
shift 2
export PIP_DISABLE_PIP_VERSION_CHECK=1

# environment NAME PACKAGE...
environment() {
  [[ -e $folder/$1/done ]] && return
  python3 -m venv "$folder/$1"
  "$folder/$1/bin/pip" install -q "${@:2}" && touch "$folder/$1/done"
}
node() {
  [[ -e $folder/node/done-$1 ]] && return
  mkdir -p "$folder/node"
  npm install --prefix "$folder/node" --no-audit --no-fund --silent "${@:2}" && touch "$folder/node/done-$1"
}
environment python pytest openai anthropic langchain-openai langchain-anthropic litellm llama-index-llms-openai-like llm
environment aider aider-chat || echo "clients: aider cannot be installed" >&2
if command -v npm > /dev/null; then
  node sdks openai @anthropic-ai/sdk ai @ai-sdk/openai-compatible @ai-sdk/openai @ai-sdk/anthropic ||
    echo "clients: the SDKs for Node cannot be installed" >&2
  for package in @anthropic-ai/claude-code @openai/codex @continuedev/cli; do
    node "$(basename "$package")" "$package" || echo "clients: $package cannot be installed" >&2
  done
fi
export R2ROUTER_CLI=$program R2ROUTER_CLIENT_TESTS=1 R2ROUTER_CLIENTS=$folder
exec "$folder/python/bin/python" -m pytest -q -rs --disable-warnings -p no:cacheprovider "$root/tests/gateway/test_clients.py" "$@"
