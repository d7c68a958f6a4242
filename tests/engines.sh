#!/usr/bin/env bash
# Runs the tests of polars, DuckDB, and a real local Ray and Spark, which take minutes and a gigabyte of
# packages, in an environment that has r2_router. Spark needs Java.
# Usage: bash tests/engines.sh PYTHON
set -euo pipefail

python=${1:?"usage: bash tests/engines.sh PYTHON"}
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
"$python" -m pip install -q pytest numpy pandas pyarrow polars duckdb "ray[data]" pyspark
exec "$python" -m pytest -q -rs "$root/tests/python/test_engines.py" "$root/tests/python/test_statistics.py"
