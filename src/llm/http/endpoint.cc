#include "r2router/endpoint.h"

#include <algorithm>
#include <cstdlib>

#include <string.h>  // explicit_bzero

#include "r2router/error.h"

namespace r2router {
namespace {

/// Overwrites the text's memory, which the compiler may not leave out.
void wipe(std::string& text) { explicit_bzero(text.data(), text.size()); }

}  // namespace

Secret::Secret(std::string_view value) : value_(value) {
  const bool bad = std::ranges::any_of(
      value, [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7F; });
  if (!bad) return;
  wipe(value_);
  throw Error(ErrorCode::kInvalidArgument,
              "the key has a line break or another control character in it, which no HTTP header "
              "can hold: remove it (a file's last line break is easily taken along)");
}

Secret::Secret(const Secret&) = default;

Secret& Secret::operator=(const Secret& other) {
  if (this != &other) {
    wipe(value_);
    value_ = other.value_;
  }
  return *this;
}

Secret::~Secret() { wipe(value_); }

Secret api_key_from_environment() {
  const char* const value = std::getenv("OPENROUTER_API_KEY");
  return value == nullptr ? Secret() : Secret(value);
}

}  // namespace r2router
