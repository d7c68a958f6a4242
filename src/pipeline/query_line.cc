#include "pipeline/query_line.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include <nlohmann/json.hpp>

#include "base/unicode.h"
#include "route/route_numbers.h"

namespace r2router::cli {
namespace {

// Keys are numbered: first these, then those of kRouteNumbers.
constexpr std::string_view kKeys[] = {"query", "embedding", "id", "input_tokens",
                                      "max_output_tokens"};
enum Key : std::size_t { kQuery, kEmbedding, kId, kInputTokens, kMaxOutputTokens, kNumbers };
constexpr std::size_t kNoKey = kNumbers + std::size(kRouteNumbers);

constexpr const char* kExpected[] = {"a string",
                                     "an array of numbers",
                                     "a string, a number, true, false or null",
                                     "a whole number, 0 or more",
                                     "a whole number, 1 or more",
                                     "a number"};

std::string_view name_of(std::size_t key) {
  return key < kNumbers ? kKeys[key] : kRouteNumbers[key - kNumbers].first;
}

std::size_t find_key(std::string_view name) {
  std::size_t key = 0;
  while (key < kNoKey && name_of(key) != name) ++key;
  return key;
}

std::string excerpt(std::string_view text) {
  constexpr std::size_t kMost = 40;
  std::string shown(text.substr(0, kMost));
  if (text.size() > kMost) shown += "…";
  return '"' + shown + '"';
}

// The parser's own words without its prefix and without the offending text, which may be long.
std::string brief_reason(std::string_view what) {
  if (const auto end = what.find("] "); end != what.npos) what.remove_prefix(end + 2);
  if (const auto dash = what.find(" - "); dash != what.npos) what.remove_prefix(dash + 3);
  const auto last_read = what.find("; last read: ");
  std::string reason(what.substr(0, std::min<std::size_t>(last_read, 160)));
  const auto expected = what.rfind("; expected ");
  if (last_read != what.npos && expected != what.npos && expected > last_read) {
    reason += what.substr(expected, 100);
  }
  return reason;
}

// Receives the events of nlohmann's parser. No tree is built: a line costs no more memory than what
// it is allowed to hold, however deeply it nests. Parsing goes on after a wrong value, in case the
// id comes later.
class QueryLineHandler {
 public:
  explicit QueryLineHandler(QueryLine& out) : out_(out) {}

  bool null() {
    if (at_value() && key_ >= kInputTokens && key_ < kNoKey) return true;
    return scalar("null", "null");
  }
  bool boolean(bool value) { return scalar(value ? "true" : "false", "a boolean"); }
  bool number_integer(std::int64_t value) { return integer(value); }
  bool number_unsigned(std::uint64_t value) { return integer(value); }
  // `text` is the number as it stands, which an id must keep: 1.50 is not to become 1.5.
  bool number_float(double value, const std::string& text) {
    if (in_embedding()) return element(value);
    if (at_number()) return number(value);
    return scalar(text, "the number " + text.substr(0, 40));
  }
  bool string(std::string& value) {
    if (at_value() && key_ == kQuery) {
      out_.query = std::move(value);
      return true;
    }
    const bool is_id = at_value() && key_ == kId;
    return scalar(is_id ? nlohmann::json(value).dump() : "", "a string");
  }
  bool binary(std::vector<std::uint8_t>&) { return false; }

  bool key(const std::string& name) {
    if (depth_ != 1) return true;
    key_ = find_key(name);
    if (key_ == kNoKey) {
      std::string known;
      for (std::size_t key = kId; key < kNoKey; ++key) {
        known += (known.empty() ? "" : ", ") + std::string(name_of(key));
      }
      fail("unknown key " + excerpt(name) + "; expected query or embedding, and optionally " +
           known);
    } else if (seen_[key_]) {
      fail("the key " + excerpt(name) + " stands twice");
    } else {
      seen_[key_] = true;
    }
    return true;
  }
  // Whatever nests where it should not is an error, but its end must be found: depth_ is enough.
  bool start_object(std::size_t) {
    if (depth_ == 0) is_object_ = true;
    if (depth_ > 0) wrong_type("an object");
    ++depth_;
    return true;
  }
  bool end_object() {
    --depth_;
    return true;
  }
  bool start_array(std::size_t) {
    if (at_value() && key_ == kEmbedding) {
      out_.embedding.emplace();
    } else {
      wrong_type("an array");
    }
    ++depth_;
    return true;
  }
  bool end_array() {
    --depth_;
    return true;
  }
  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::json::exception& error) {
    out_.error =
        "not valid JSON at byte " + std::to_string(position) + ": " + brief_reason(error.what());
    return false;
  }

  // What no single event shows.
  void finish() {
    if (!is_object_) {
      fail("expected a JSON object with a query or an embedding");
    } else if (out_.query.has_value() == out_.embedding.has_value()) {
      fail(out_.query ? "both query and embedding are given; expected one of them"
                      : "neither query nor embedding is given; expected one of them");
    } else if (out_.embedding && !out_.embedding->empty() &&
               std::ranges::all_of(*out_.embedding, [](double value) { return value == 0; })) {
      fail("the embedding is all zeros; expected the embedding of a text");
    }
  }

 private:
  bool at_value() const { return depth_ == 1 && is_object_; }
  bool at_number() const { return at_value() && key_ >= kNumbers && key_ < kNoKey; }
  bool in_embedding() const { return depth_ == 2 && key_ == kEmbedding && out_.embedding; }

  // The first fault is told: later ones may follow from it.
  void fail(const std::string& error) {
    if (out_.error.empty()) out_.error = error;
  }

  bool element(double value) {
    if (out_.embedding->size() < QueryLine::kMaxDimension) {
      out_.embedding->push_back(value);
    } else {
      fail("the embedding has more than " + std::to_string(QueryLine::kMaxDimension) + " numbers");
    }
    return true;
  }

  bool number(double value) {
    out_.options.*kRouteNumbers[key_ - kNumbers].second = value;
    return true;
  }

  template <typename Integer>
  bool integer(Integer value) {
    if (in_embedding()) return element(static_cast<double>(value));
    if (at_number()) return number(static_cast<double>(value));
    // A count beyond 2^63 reaches us as unsigned.
    if (at_value() && key_ == kInputTokens && std::in_range<std::int64_t>(value) && value >= 0) {
      out_.options.input_tokens = static_cast<std::int64_t>(value);
      return true;
    }
    if (at_value() && key_ == kMaxOutputTokens && std::in_range<std::uint32_t>(value) &&
        value > 0) {
      out_.options.max_output_tokens = static_cast<std::uint32_t>(value);
      return true;
    }
    const std::string text = std::to_string(value);
    return scalar(text, "the number " + text);
  }

  // A value that is right for an id alone.
  bool scalar(const std::string& json, const std::string& found) {
    if (at_value() && key_ == kId) {
      out_.id = json;
    } else {
      wrong_type(found);
    }
    return true;
  }

  void wrong_type(const std::string& found) {
    if (in_embedding()) {
      fail("embedding holds " + found + " at index " + std::to_string(out_.embedding->size()) +
           "; expected numbers alone");
    } else if (at_value() && key_ != kNoKey) {
      fail(std::string(name_of(key_)) + " is " + found + "; expected " +
           kExpected[std::min<std::size_t>(key_, kNumbers)]);
    }
  }

  QueryLine& out_;
  std::size_t depth_ = 0;
  bool is_object_ = false;
  std::size_t key_ = kNoKey;  // of the line's object, where the parser is
  bool seen_[kNoKey] = {};
};

}  // namespace

QueryLine parse_query_line(std::string_view line) {
  QueryLine result;
  // The parser would find such a byte too, but not name it as plainly.
  if (std::size_t bad = 0; !is_utf8(line, &bad)) {
    result.error = "not UTF-8 at byte " + std::to_string(bad + 1);
    return result;
  }
  QueryLineHandler handler(result);
  if (nlohmann::json::sax_parse(line, &handler)) handler.finish();
  return result;
}

}  // namespace r2router::cli
