#!/usr/bin/env bash
# Trains the default checkpoint again from published tables.
# Usage: bash checkpoints/sources/build.sh R2_ROUTER DATA OUTPUT [VECTORS]
#   R2_ROUTER   the program; DATA: see make_results.py, with task_prompts.jsonl.gz; OUTPUT: a new folder
#   VECTORS     a file of make_vectors.py; otherwise the vectors of the present default checkpoint
set -euo pipefail
program=$1 data=$2 output=$3 vectors=${4:-}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
python3 "$here/make_results.py" "$data"
python3 "$here/make_everyday.py"
prompts=$(mktemp -d)
trap 'rm -rf "$prompts"' EXIT
{ zcat "$data/task_prompts.jsonl.gz"; cat "$here/everyday.jsonl"; } > "$prompts/prompts.jsonl"
"$program" train --task-table "$here/results.csv" --prompts "$prompts/prompts.jsonl" \
  --vectors "${vectors:-$here/../default}" --pool "$here/../../config/default.json" --data-date 2026-08-22 --output "$output"
