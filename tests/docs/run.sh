#!/usr/bin/env bash
# Builds the documentation site strictly: a broken link, an unknown name or a wrong comment in a header is
# an error. Installs what is missing: Doxygen, and MkDocs in an environment of its own.
# Usage: bash tests/docs/run.sh [WORK_FOLDER]
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
work=${1:-$root/build/docs}
mkdir -p "$work"
work=$(cd "$work" && pwd)

bash "$root/.ci/install_packages.sh" doxygen python3-venv
if [[ ! -x $work/venv/bin/mkdocs ]]; then
  python3 -m venv "$work/venv"
  "$work/venv/bin/pip" install -q --disable-pip-version-check -r "$root/docs/requirements.txt"
fi
# Not with -q: MkDocs does not count the warnings that it does not show.
NO_MKDOCS_2_WARNING=1 "$work/venv/bin/mkdocs" build --strict -f "$root/docs/mkdocs.yml" -d "$work/site" \
  > "$work/build.log" 2>&1 || { grep -v INFO "$work/build.log" >&2; exit 1; }

for page in index.html gateway-settings.html python-reference.html checkpoint-format.html cpp-reference/index.html \
  cpp-reference/classr2router_1_1Router.html; do
  [[ -s $work/site/$page ]] || { echo "docs: the site has no $page" >&2; exit 1; }
done
# The references have the text of the sources and not only their names.
grep -q "Chooses a model and a token budget for each query" "$work/site/python-reference.html" ||
  { echo "docs: the Python reference lacks the docstring of R2Router" >&2; exit 1; }
grep -q "Composes the stages" "$work/site/cpp-reference/classr2router_1_1Router.html" ||
  { echo "docs: the C++ reference lacks the comment of Router" >&2; exit 1; }
grep -q "<code>buffered_bytes</code>" "$work/site/gateway-settings.html" ||
  { echo "docs: the reference of the gateway lacks limits.buffered_bytes" >&2; exit 1; }
echo "docs: $(find "$work/site" -name '*.html' | wc -l) pages"
