// R2ROUTER_EXPORT marks what a shared build of the library makes visible; everything else is
// hidden.
#pragma once

#define R2ROUTER_EXPORT __attribute__((visibility("default")))
