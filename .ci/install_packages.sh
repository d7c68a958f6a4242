#!/usr/bin/env bash
# Installs those of the named Debian packages that are missing; silent if none is.
# Usage: install_packages.sh PACKAGE...
set -euo pipefail

missing=()
if command -v dpkg-query > /dev/null; then
  for package in "$@"; do
    status=$(dpkg-query -W -f '${Status}' "$package" 2> /dev/null || true)
    [[ $status == "install ok installed" ]] || missing+=("$package")
  done
fi
if ! command -v apt-get > /dev/null; then
  echo "This is not Debian or a relative of it, so nothing is installed here. Needed, by their Debian" \
    "names: $*" >&2
  exit 0  # they may well be there under other names: the build tells what is not
fi
[[ ${#missing[@]} -gt 0 ]] || exit 0

root=()
if [[ $(id -u) -ne 0 ]]; then
  if ! command -v sudo > /dev/null; then
    echo "Missing packages: ${missing[*]}. Neither root nor sudo is at hand to install them: ask an" \
      "administrator to run: apt-get install ${missing[*]}" >&2
    exit 1
  fi
  root=(sudo)
fi

echo "Installing ${missing[*]}" >&2
log=$(mktemp)
trap 'rm -f "$log"' EXIT
apt() {
  "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o Acquire::Retries=3 "$@" >> "$log" 2>&1
}
if ! { apt update && apt install --no-install-recommends "${missing[@]}"; }; then
  tail -n 20 "$log" >&2
  echo "apt-get failed: see above." >&2
  exit 1
fi
