#include "cli/decision_json.h"

#include <charconv>

#include <nlohmann/json.hpp>

namespace r2router::cli {
namespace {

// Writes members one by one: no tree is built for each of many queries, and an id keeps its
// spelling.
class ObjectWriter {
 public:
  explicit ObjectWriter(std::string& out) : out_(out) { out_ += '{'; }

  void raw(std::string_view key, std::string_view json) {
    if (!first_) out_ += ", ";
    first_ = false;
    out_ += '"';
    out_ += key;
    out_ += "\": ";
    out_ += json;
  }
  void text(std::string_view key, std::string_view value) {
    // Bytes that are not UTF-8 (of an argument, say) become U+FFFD: the line stays valid JSON.
    raw(key, nlohmann::json(value).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
  }
  template <typename Number>
  void number(std::string_view key, Number value) {
    char digits[32];
    const auto end = std::to_chars(std::begin(digits), std::end(digits), value).ptr;
    raw(key, {digits, end});
  }
  void close() { out_ += '}'; }

 private:
  std::string& out_;
  bool first_ = true;
};

void write_option(ObjectWriter& object, const Option& option, const Pool& pool) {
  const ModelSpec& model = pool[option.model];
  object.text("model", model.name);
  object.text("openrouter_id", model.openrouter_id);
  if (option.budget.is_unlimited()) {
    object.text("budget", "unlimited");
  } else {
    object.number("budget", option.budget.tokens());
  }
  object.number("predicted_quality", option.quality);
  object.number("predicted_output_tokens", option.output_tokens);
  object.number("predicted_cost_usd", option.cost_usd);
  object.number("risk", option.risk);
}

}  // namespace

std::string decision_json(const QueryLabel& label, const Option& chosen,
                          std::span<const Option> ranking, const Pool& pool) {
  std::string line;
  ObjectWriter object(line);
  if (!label.id.empty()) object.raw("id", label.id);
  if (label.query) object.text("query", *label.query);
  if (label.row) object.number("row", *label.row);
  write_option(object, chosen, pool);
  if (!ranking.empty()) {
    object.raw("all_options", "[");
    for (const Option& option : ranking) {
      if (&option != &ranking.front()) line += ", ";
      ObjectWriter entry(line);
      write_option(entry, option, pool);
      entry.close();
    }
    line += ']';
  }
  object.close();
  line += '\n';
  return line;
}

std::string error_json(std::string_view id, std::string_view message, std::uint64_t line_number) {
  std::string line;
  ObjectWriter object(line);
  if (!id.empty()) object.raw("id", id);
  object.text("error", message);
  object.number("line", line_number);
  object.close();
  line += '\n';
  return line;
}

}  // namespace r2router::cli
