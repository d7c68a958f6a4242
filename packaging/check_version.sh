#!/usr/bin/env bash
# Checks that one version is in every place that has one, and that the changelog describes it.
# Usage: check_version.sh [VERSION [--notes]]   --notes prints the section of the changelog
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
header=include/r2router/version.h
version=$(sed -n 's/^#define R2ROUTER_VERSION "\(.*\)"$/\1/p' "$header")
[[ -n $version ]] || { echo "$header: no R2ROUTER_VERSION" >&2; exit 1; }

# expect FILE FOUND
expect() {
  [[ $2 == "$version" ]] && return
  echo "$1 has version \"$2\", but $header has \"$version\"" >&2
  exit 1
}
[[ $# -eq 0 ]] || expect "the tag" "$1"
parts=$(sed -n 's/^#define R2ROUTER_VERSION_[MP].* \([0-9]*\)$/\1/p' "$header" | paste -sd.)
expect "R2ROUTER_VERSION_MAJOR, MINOR and PATCH in $header" "$parts"
expect CITATION.cff "$(sed -n 's/^version: //p' CITATION.cff)"
expect packaging/vcpkg/r2router/vcpkg.json \
  "$(sed -n 's/^  "version": "\(.*\)",$/\1/p' packaging/vcpkg/r2router/vcpkg.json)"

notes=$(awk -v title="## $version" 'index($0, title " ") == 1 || $0 == title {on = 1; next} /^## / {on = 0} on' \
  CHANGELOG.md)
[[ -n $notes ]] || { echo "CHANGELOG.md has no section \"## $version\"" >&2; exit 1; }
if [[ ${2:-} == --notes ]]; then echo "$notes"; fi
