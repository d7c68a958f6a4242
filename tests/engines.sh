#!/usr/bin/env bash
# Runs the tests of polars, DuckDB, and a real local Ray and Spark, with workers that are killed, which take
# minutes and a gigabyte of packages, in an environment that has r2_router. Spark needs Java.
# R2ROUTER_PARITY=10000 compares the decisions of all front ends on that many prompts of ../shared, and
# R2ROUTER_CLI=PROGRAM includes that program's gateway.
# Usage: bash tests/engines.sh PYTHON
set -euo pipefail

python=${1:?"usage: bash tests/engines.sh PYTHON"}
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
"$python" -m pip install -q pytest numpy pandas pyarrow polars duckdb "ray[data]" pyspark
cd "$root"
"$python" -m pytest -q -rs tests/python/test_engines.py tests/python/test_parity.py tests/python/test_statistics.py
# In a process of its own: the JVM of Spark keeps the folder that it was started in.
exec "$python" -m pytest -q -rs "tests/python/test_docs.py::test_tables_and_files"
