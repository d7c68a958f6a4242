#!/usr/bin/env bash
# Fails if a source file is not formatted as .clang-format says.
# Usage: format.sh CLANG_FORMAT
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
mapfile -t files < <(find include src python tests bench examples -name '*.cc' -o -name '*.h')
[[ ${#files[@]} -gt 200 ]] || { echo "format: only ${#files[@]} source files were found" >&2; exit 1; }
"$1" --dry-run --Werror "${files[@]}"
echo "${#files[@]} files are formatted"
