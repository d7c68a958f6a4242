#!/usr/bin/env bash
# Checks what releases are made from: versions, workflows, Dockerfile, citation, vcpkg port, Conan recipe.
# Usage: bash packaging/test.sh [--full] [WORK_FOLDER]   --full also builds the Conan package from the tree
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
full=
if [[ ${1:-} == --full ]]; then
  full=yes
  shift
fi
work=${1:-build/packaging}
mkdir -p "$work"
work=$(cd "$work" && pwd)
export PIP_DISABLE_PIP_VERSION_CHECK=1

bash packaging/check_version.sh

# venv NAME PACKAGE...
venv() {
  local folder=$work/$1
  [[ -x $folder/bin/pip ]] || python3 -m venv "$folder"
  "$folder/bin/pip" install -q "${@:2}"
}

bash .ci/install_packages.sh python3-venv
venv checks -r packaging/requirements.txt
"$work/checks/bin/check-jsonschema" -q --builtin-schema vendor.github-workflows .github/workflows/*.yml
"$work/checks/bin/hadolint" packaging/Dockerfile
"$work/checks/bin/check-jsonschema" -q --builtin-schema vendor.compose-spec examples/gateway/docker-compose.yml
# Its jsonschema is another one, too.
venv kubernetes kubernetes-validate
"$work/kubernetes/bin/kubernetes-validate" --quiet --strict examples/gateway/kubernetes.yml
if command -v systemd-analyze > /dev/null; then
  # The programs of the unit need not be installed here.
  sed "s|/usr/local/bin/r2-router|/bin/true|" examples/gateway/r2-router.service > "$work/r2-router.service"
  systemd-analyze verify --man=no "$work/r2-router.service"
fi
if command -v promtool > /dev/null; then promtool check config examples/gateway/prometheus.yml; fi
"$work/checks/bin/python" packaging/check_references.py
# It needs an older jsonschema than check-jsonschema does.
venv citation cffconvert
"$work/citation/bin/cffconvert" --validate -i CITATION.cff > "$work/citation.log" 2>&1 ||
  { cat "$work/citation.log" >&2; exit 1; }
if command -v vcpkg > /dev/null; then
  vcpkg format-manifest packaging/vcpkg/r2router/vcpkg.json
  git diff --exit-code packaging/vcpkg
fi
echo "packaging: versions, workflows, Dockerfile, citation, vcpkg port and examples of deployment are valid"

[[ -n $full ]] || exit 0
bash .ci/install_packages.sh g++ cmake ninja-build libeigen3-dev nlohmann-json3-dev libcli11-dev zlib1g-dev \
  libbz2-dev liblzma-dev libcurl4-openssl-dev
venv conan "conan>=2,<3"
export CONAN_HOME=$work/conan-home
conan=$work/conan/bin/conan
"$conan" profile detect --force > /dev/null 2>&1
# System dependencies, so that nothing is downloaded.
"$conan" create packaging/conan --no-remote -o "r2router/*:system_dependencies=True" \
  -s compiler.cppstd=20 -c tools.cmake.cmaketoolchain:generator=Ninja
echo "packaging: the Conan package works"
