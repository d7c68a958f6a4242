#!/usr/bin/env bash
# Run by cibuildwheel in a manylinux container, before all wheels: installs what the build needs. Header-only
# libraries are downloaded by CMake; the container's libcurl is too old.
set -euo pipefail

dnf install -y bzip2-devel openssl-devel xz-devel zlib-devel
source=$(mktemp -d)
git clone --quiet --depth 1 --branch curl-8_11_1 https://github.com/curl/curl.git "$source/curl"
cmake -S "$source/curl" -B "$source/build" -DCMAKE_BUILD_TYPE=Release -DCMAKE_INSTALL_PREFIX=/usr/local \
  -DBUILD_CURL_EXE=OFF -DBUILD_TESTING=OFF -DBUILD_LIBCURL_DOCS=OFF -DBUILD_MISC_DOCS=OFF \
  -DCURL_USE_LIBPSL=OFF -DCURL_USE_LIBSSH2=OFF -DCURL_CA_FALLBACK=ON -DHTTP_ONLY=ON -DUSE_NGHTTP2=OFF
cmake --build "$source/build" -j "$(nproc)"
cmake --install "$source/build"
ldconfig
rm -rf "$source"
