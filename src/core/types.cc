#include "r2router/types.h"

#include "r2router/version.h"

namespace r2router {

std::string Budget::to_string() const {
  return is_unlimited() ? "unlimited" : std::to_string(tokens_);
}

void Budget::throw_bad_count(std::uint32_t count) {
  throw Error(ErrorCode::kInvalidArgument,
              "a limited budget of " + std::to_string(count) +
                  " tokens: expected 1 to 4294967294, or Budget::unlimited()");
}

const char* version() noexcept { return R2ROUTER_VERSION; }

}  // namespace r2router
