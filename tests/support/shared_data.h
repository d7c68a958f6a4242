// Reference data next to the project, if provided; tests that need it skip without it.
#pragma once

#include <filesystem>
#include <string>

namespace r2router::testing {

inline std::string shared_path(const std::string& relative) {
  return (std::filesystem::path(R2ROUTER_SOURCE_DIR) / ".." / "shared" / relative)
      .lexically_normal();
}

}  // namespace r2router::testing

#define R2ROUTER_SKIP_WITHOUT(path)                                      \
  if (!std::filesystem::exists(path)) {                                  \
    GTEST_SKIP() << "needs ../shared, which is not part of the project"; \
  }
