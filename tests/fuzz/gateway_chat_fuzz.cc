#include "fuzz/gateway_dialect.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  r2router::gateway::fuzz_dialect(r2router::gateway::DialectKind::kChat, data, size);
  return 0;
}
