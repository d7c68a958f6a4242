// R2ROUTER_EXPORT marks the symbols that a shared library exports; all others are hidden.
#pragma once

#define R2ROUTER_EXPORT __attribute__((visibility("default")))
