#include "pipeline/query_line.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <iterator>
#include <system_error>
#include <utility>

#include "r2router/error.h"
#include "r2router/settings.h"

#include "base/edit_distance.h"
#include "base/excerpt.h"
#include "base/json_reader.h"
#include "base/unicode.h"
#include "pool/capability_names.h"
#include "route/settings.h"

namespace r2router::internal {
namespace {

using Kind = JsonReader::Kind;

/// More names of models than any pool has.
constexpr std::size_t kMostNames = 10'000;

constexpr std::string_view kOwnKeys[] = {"query",        "embedding",        "id",     "policy",
                                         "input_tokens", "max_input_tokens", "images", "requires",
                                         "explain",      "all_options"};

std::optional<double> finite_number(std::string_view digits) {
  double value = 0;
  const auto [end, error] = std::from_chars(digits.begin(), digits.end(), value);
  // Too large, or too near to 0: only strtod() says which.
  if (error == std::errc::result_out_of_range) {
    value = std::strtod(std::string(digits).c_str(), nullptr);
  }
  return std::isfinite(value) ? std::optional(value) : std::nullopt;
}

/// A value that is not null, or what was found in the place of one that a setting could have.
struct Value {
  std::optional<SettingValue> value = {};
  std::string found = {};
};

Value plain(SettingValue value) {
  std::string found = describe(value);
  return {std::move(value), std::move(found)};
}

Value read_number(JsonReader& reader) {
  const std::string_view digits = reader.raw_number();
  std::int64_t whole = 0;
  const auto [end, error] = std::from_chars(digits.begin(), digits.end(), whole);
  if (error == std::errc() && end == digits.end()) return plain(whole);
  const std::optional<double> number = finite_number(digits);
  const std::string found(digits.substr(0, 40));
  return {number ? std::optional<SettingValue>(*number) : std::nullopt, found};
}

Value read_names(JsonReader& reader) {
  std::vector<std::string> names;
  std::string bad;
  reader.begin_array();
  for (std::size_t index = 0; reader.next_element(); ++index) {
    const Kind kind = reader.kind();
    if (kind == Kind::kString && names.size() < kMostNames) {
      names.push_back(reader.string());
      continue;
    }
    if (bad.empty()) {
      bad = kind == Kind::kString ? "a list of more than " + std::to_string(kMostNames)
                                  : "a list with " + std::string(JsonReader::name(kind)) +
                                        " at index " + std::to_string(index);
    }
    reader.skip();
  }
  if (!bad.empty()) return {.found = std::move(bad)};
  return plain(std::move(names));
}

Value read_value(JsonReader& reader) {
  switch (const Kind kind = reader.kind()) {
    case Kind::kBoolean:
      return plain(reader.boolean());
    case Kind::kString:
      return plain(reader.string());
    case Kind::kNumber:
      return read_number(reader);
    case Kind::kArray:
      return read_names(reader);
    case Kind::kObject:
    case Kind::kNull:
      reader.skip();
      return {.found = std::string(JsonReader::name(kind))};
  }
  return {};
}

// Reads a line from front to back, and goes on after a wrong value, in case the id comes later. No
// tree is built: a line takes no more memory than what it is allowed to hold.
class QueryLineReader {
 public:
  QueryLineReader(std::string_view line, QueryLine& out)
      : reader_(line, ErrorCode::kBadData), out_(out) {}

  void read() {
    if (reader_.kind() != Kind::kObject) {
      reader_.skip();
      reader_.end();
      return fail("expected a JSON object with a query or an embedding");
    }
    read_members("");
    reader_.end();
    if (out_.query.has_value() == out_.embedding.has_value()) {
      fail(out_.query ? "both query and embedding are given; expected one of them"
                      : "neither query nor embedding is given; expected one of them");
    } else if (out_.embedding && !out_.embedding->empty() &&
               std::ranges::all_of(*out_.embedding, [](double value) { return value == 0; })) {
      fail("the embedding is all zeros; expected the embedding of a text");
    }
  }

 private:
  // The first fault counts: later ones may follow from it.
  void fail(const std::string& error) {
    if (out_.error.empty()) out_.error = error;
  }
  void fail(std::string_view key, const std::string& found, std::string_view expected) {
    fail(std::string(key) + " is " + found + ": expected " + std::string(expected));
  }

  /// `group`: the object that the members are in, and a dot; empty for the line itself.
  void read_members(const std::string& group) {
    reader_.begin_object();
    while (const auto name = reader_.next_member()) {
      const std::string key = group + std::string(name->substr(0, 100));
      if (std::ranges::find(seen_, key) != seen_.end()) {
        fail("the key " + excerpt(key) + " occurs twice");
        reader_.skip();
      } else if (!read_member(key, group.empty())) {
        fail("unknown key " + excerpt(key, 40) + ": did you mean \"" +
             std::string(nearest_key(key, group)) + "\"?");
        reader_.skip();
      } else {
        seen_.push_back(key);
      }
    }
  }

  static std::string_view nearest_key(std::string_view key, std::string_view group) {
    std::vector<std::string_view> keys = keys_in(group);
    if (group.empty()) keys.insert(keys.begin(), std::begin(kOwnKeys), std::end(kOwnKeys));
    return internal::nearest(key, keys);
  }

  /// False, with nothing read, if there is no such key.
  bool read_member(const std::string& key, bool top) {
    const bool flat = !top || key.find('.') == key.npos;
    if (const Setting* setting = flat ? find_setting(key) : nullptr) {
      read_into(key, setting->expected(),
                [&](const SettingValue& value) { return assign(*setting, value, out_.settings); });
    } else if (is_group(key)) {
      if (reader_.kind() == Kind::kObject) {
        read_members(key + ".");
      } else {
        read_into(key, "an object", [](const SettingValue&) { return false; });
      }
    } else if (!top) {
      return false;
    } else if (key == "query") {
      read_text(key, "a string", out_.query, false);
    } else if (key == "policy") {
      read_text(key, "a policy file or the name of a policy", out_.policy, true);
    } else if (key == "embedding") {
      read_embedding();
    } else if (key == "id") {
      read_id();
    } else if (key == "input_tokens") {
      read_count(key, "tokens", out_.input_tokens);
    } else if (key == "max_input_tokens") {
      read_count(key, "tokens", out_.max_input_tokens);
    } else if (key == "images") {
      read_count(key, "images", out_.images);
    } else if (key == "requires") {
      read_into(key, kCapabilityList, [&](const SettingValue& value) {
        const auto* names = std::get_if<std::vector<std::string>>(&value);
        if (names != nullptr) out_.requirements = capabilities_of(*names);
        return names != nullptr && out_.requirements.has_value();
      });
    } else if (key == "explain") {
      read_flag(key, out_.explain);
    } else if (key == "all_options") {
      read_flag(key, out_.all_options);
    } else {
      return false;
    }
    return true;
  }

  /// A value that `take` takes, or null for none.
  template <typename Take>
  void read_into(std::string_view key, std::string_view expected, Take take) {
    const bool null = reader_.kind() == Kind::kNull;
    const Value read = read_value(reader_);
    if (!null && !(read.value && take(*read.value))) fail(key, read.found, expected);
  }

  void read_text(std::string_view key, std::string_view expected, std::optional<std::string>& text,
                 bool optional) {
    const Kind kind = reader_.kind();
    if (kind == Kind::kString) {
      text = reader_.string();
      return;
    }
    const Value read = read_value(reader_);
    if (kind != Kind::kNull || !optional) fail(key, read.found, expected);
  }

  template <typename Count>
  void read_count(std::string_view key, const std::string& unit, std::optional<Count>& count) {
    read_into(key, "a whole number of " + unit + ", 0 or more", [&](const SettingValue& value) {
      const auto* found = std::get_if<std::int64_t>(&value);
      if (found == nullptr || *found < 0 || !std::in_range<Count>(*found)) return false;
      count = static_cast<Count>(*found);
      return true;
    });
  }

  void read_flag(std::string_view key, std::optional<bool>& flag) {
    read_into(key, "true or false", [&](const SettingValue& value) {
      const bool* found = std::get_if<bool>(&value);
      if (found != nullptr) flag = *found;
      return found != nullptr;
    });
  }

  void read_id() {
    switch (const Kind kind = reader_.kind()) {
      case Kind::kString:
        out_.id = '"' + std::string(reader_.raw_string()) + '"';
        break;
      case Kind::kNumber:
        out_.id = reader_.raw_number();  // 1.50 must not become 1.5
        break;
      case Kind::kBoolean:
        out_.id = reader_.boolean() ? "true" : "false";
        break;
      case Kind::kNull:
        out_.id = "null";
        reader_.skip();
        break;
      case Kind::kObject:
      case Kind::kArray:
        reader_.skip();
        fail("id", std::string(JsonReader::name(kind)), "a string, a number, true, false or null");
    }
  }

  void read_embedding() {
    if (reader_.kind() != Kind::kArray) {
      return fail("embedding", read_value(reader_).found, "an array of numbers");
    }
    std::vector<double>& embedding = out_.embedding.emplace();
    reader_.begin_array();
    for (std::size_t index = 0; reader_.next_element(); ++index) {
      const Kind kind = reader_.kind();
      if (index == QueryLine::kMaxDimension) {
        fail("the embedding has more than " + std::to_string(QueryLine::kMaxDimension) +
             " numbers");
      }
      if (kind != Kind::kNumber || index >= QueryLine::kMaxDimension) {
        if (kind != Kind::kNumber) bad_element(index, JsonReader::name(kind));
        reader_.skip();
        continue;
      }
      const std::string_view digits = reader_.raw_number();
      if (const auto number = finite_number(digits)) {
        embedding.push_back(*number);
      } else {
        bad_element(index, digits.substr(0, 40));
      }
    }
  }

  void bad_element(std::size_t index, std::string_view found) {
    fail("embedding holds " + std::string(found) + " at index " + std::to_string(index) +
         ": expected finite numbers");
  }

  JsonReader reader_;
  QueryLine& out_;
  std::vector<std::string> seen_;
};

}  // namespace

QueryLine parse_query_line(std::string_view line) {
  QueryLine result;
  // The reader would find such a byte too, but only up to the line's first fault.
  if (std::size_t bad = 0; !is_utf8(line, &bad)) {
    result.error = "not UTF-8 at byte " + std::to_string(bad + 1);
    return result;
  }
  try {
    QueryLineReader(line, result).read();
  } catch (const Error& error) {
    result.error = error.message();
  }
  return result;
}

}  // namespace r2router::internal
