// Fuzzes the JSONL query line: whatever the bytes, the parser keeps its contract and what is
// printed about the line is valid JSON.
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

#include "r2router/settings.h"

#include "pipeline/decision_json.h"
#include "pipeline/query_line.h"

namespace {

void require(bool condition) {
  if (!condition) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using r2router::internal::QueryLine;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const QueryLine line = r2router::internal::parse_query_line(text);

  if (!line.id.empty()) require(!nlohmann::json::parse(line.id).is_structured());
  if (line.error.empty()) {
    // Our parser accepts only what is JSON to a parser that builds the whole tree.
    const nlohmann::json tree = nlohmann::json::parse(text);
    require(line.query.has_value() != line.embedding.has_value());
    if (line.query) require(tree.at("query") == *line.query);
    if (line.embedding) {
      require(tree.at("embedding") == *line.embedding);
      for (const double value : *line.embedding) require(std::isfinite(value));
    }
    r2router::check(line.settings);
    const r2router::Decision decision{
        .pool = std::make_shared<const r2router::Pool>(r2router::Pool{{.name = "model"}})};
    const std::string output =
        r2router::internal::decision_json({.id = line.id, .query = line.query}, decision, false);
    require(output.find('\n') == output.size() - 1);
    require(nlohmann::json::parse(output).at("model") == "model");
  } else {
    const std::string output = r2router::internal::error_json(line.id, line.error, 1);
    require(output.find('\n') == output.size() - 1);
    require(nlohmann::json::parse(output).at("line") == 1);
  }
  return 0;
}
