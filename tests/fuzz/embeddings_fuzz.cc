// Fuzzes the answer of POST /v1/embeddings: whatever the bytes, the reader keeps its contract, and
// what it accepts is what a parser that builds the whole tree finds in it.
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "r2router/error.h"

#include "encode/remote/embeddings_response.h"
#include "support/base64.h"

namespace {

constexpr std::size_t kTexts = 3, kDimension = 2;

void require(bool condition) {
  if (!condition) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using nlohmann::json;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  std::vector<float> numbers(kTexts * kDimension);
  std::vector<std::span<float>> rows;
  for (std::size_t i = 0; i < kTexts; ++i) {
    rows.push_back(std::span(numbers).subspan(i * kDimension, kDimension));
  }
  try {
    if (!r2router::internal::read_embeddings(text, rows)) return 0;
  } catch (const r2router::Error& error) {
    require(error.code() == r2router::ErrorCode::kBadResponse);
    // The message can be printed anywhere, whatever the server sent.
    const std::string_view message = error.what();
    require(message.size() < 1000);
    require(json::accept(json(message).dump()));
    return 0;
  }
  // A number beyond a double, in a member that nobody asks for, is refused by the other parser.
  const json tree = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (tree.is_discarded()) {
    require(text.find_first_of("eE") != text.npos || text.size() > 300);
    return 0;
  }
  require(tree.at("data").size() == kTexts);
  for (const json& element : tree.at("data")) {
    const std::span<float> row = rows[element.at("index").get<std::size_t>()];
    const json& embedding = element.at("embedding");
    if (embedding.is_string()) {
      require(embedding == r2router::testing::base64(row));
      continue;
    }
    require(embedding.size() == kDimension);
    for (std::size_t k = 0; k < kDimension; ++k) {
      require(std::isfinite(row[k]));
      // Through a double the other one is rounded twice.
      const float other = static_cast<float>(embedding[k].get<double>());
      require(other == row[k] || std::nextafter(other, row[k]) == row[k]);
    }
  }
  return 0;
}
