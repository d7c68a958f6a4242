// Fuzzes the body of POST /v1/decisions: whatever the bytes, there are queries or an Error.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "r2router/error.h"

#include "gateway/dialects/decision_request.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace r2router;
  try {
    const auto request = gateway::read_decisions({reinterpret_cast<const char*>(data), size},
                                                 "Use at most {budget} tokens.");
    if (!request.is_list && request.queries.size() != 1) std::abort();
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kInvalidArgument) std::abort();
  }
  return 0;
}
