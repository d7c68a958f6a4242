#!/usr/bin/env bash
# Runs every fuzzer for a number of seconds: bash tests/fuzz/run.sh [SECONDS, 60 if not given]
# Stops at the first finding, and says which input made it.
set -euo pipefail
seconds=${1:-60}
cd "$(dirname "$0")/../.."

cmake --preset asan-ubsan >/dev/null
cmake --build --preset asan-ubsan --target fuzzers
build=build/asan-ubsan/tests/fuzz

for source in tests/fuzz/*_fuzz.cc; do
  program=$(basename "$source" .cc)
  name=${program%_fuzz}
  echo "== $program, $seconds s"
  "$build/$program" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 \
    -print_final_stats=1 -artifact_prefix="$build/$name-" \
    "$build/found/$name" "tests/fuzz/corpus/$name" 2>&1 |
    grep -E '^(stat::|Done|==|SUMMARY|Test unit|.*ERROR)'
done
echo "No findings."
