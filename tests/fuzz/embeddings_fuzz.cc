// Fuzzes the answer of POST /v1/embeddings: whatever the bytes, the reader keeps its contract, and
// what it accepts is what a parser that builds the whole tree finds in it.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string>
#include <string_view>
#include <utility>
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

bool is_same(const nlohmann::json& embedding, std::span<const float> row) {
  if (embedding.is_string()) return embedding == r2router::testing::base64(row);
  if (embedding.size() != kDimension) return false;
  for (std::size_t k = 0; k < kDimension; ++k) {
    if (!embedding[k].is_number()) return false;
    // Through a double the other one is rounded twice.
    const float other = static_cast<float>(embedding[k].get<double>());
    if (other != row[k] && std::nextafter(other, row[k]) != row[k]) return false;
  }
  return true;
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
  std::vector<r2router::internal::BadEmbedding> bad;
  try {
    auto unusable = r2router::internal::read_embeddings(text, rows);
    if (!unusable) return 0;
    bad = std::move(*unusable);
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
  // Other tests cover which text an element belongs to; here each row is one of the embeddings.
  std::vector<json> embeddings;
  for (const json& element : tree.at("data")) embeddings.push_back(element.at("embedding"));
  for (std::size_t text_index = 0; text_index < kTexts; ++text_index) {
    const auto is_bad = [&](const auto& each) { return each.text == text_index; };
    if (std::ranges::any_of(bad, is_bad)) continue;
    const std::span<float> row = rows[text_index];
    require(std::ranges::any_of(row, [](float value) { return value != 0; }));
    require(std::ranges::any_of(embeddings, [&](const json& each) { return is_same(each, row); }));
  }
  return 0;
}
