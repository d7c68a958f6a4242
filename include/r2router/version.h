// The library's version. The build and the Python package read it from here.
#pragma once

#include "r2router/export.h"

#define R2ROUTER_VERSION_MAJOR 0
#define R2ROUTER_VERSION_MINOR 2
#define R2ROUTER_VERSION_PATCH 0
#define R2ROUTER_VERSION "0.2.0"

namespace r2router {

/// Version of the linked library, which may differ from R2ROUTER_VERSION of the headers.
R2ROUTER_EXPORT const char* version() noexcept;

}  // namespace r2router
