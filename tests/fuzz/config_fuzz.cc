// Fuzzes config.json: whatever the bytes, parse_config() gives a config that survives being written
// and read again, or an Error that can be shown.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

#include "r2router/config.h"

#include "base/unicode.h"

namespace {

void require(bool condition) {
  if (!condition) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace r2router;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  Config config;
  try {
    config = parse_config(text);
  } catch (const Error& error) {
    require(error.code() == ErrorCode::kBadConfig || error.code() == ErrorCode::kUnsafe);
    require(is_utf8(error.what()));
    return 0;
  }
  // Accepted text is JSON to a parser that is not ours, and our reading agrees with its tree.
  const auto tree = nlohmann::json::parse(text);
  require(tree.at("models").size() == config.models.size());
  require(tree.at("embedding_dim") == config.embedding_dim);
  if (!config.training.empty()) {
    require(nlohmann::json::parse(config.training) == tree.at("training"));
  }
  for (const std::string& folder : config.checkpoint_dirs) {
    require(folder.find('/') == std::string::npos && folder != "..");
  }

  const std::string written = to_json(config);
  const Config again = parse_config(written);
  require(to_json(again) == written);
  require(again.models == config.models && again.encoder == config.encoder);
  require(again.training == config.training);
  return 0;
}
