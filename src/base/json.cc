#include "base/json.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <utility>

#include "base/excerpt.h"
#include "base/suggestion.h"

namespace r2router::io {
namespace {

/// RFC 6901: "~" and "/" in a member name are written "~0" and "~1".
std::string pointer_token(std::string_view name) {
  std::string token = "/";
  for (const char c : name) {
    if (c == '~') {
      token += "~0";
    } else if (c == '/') {
      token += "~1";
    } else {
      token += c;
    }
  }
  return token;
}

/// Receives nlohmann's parse events. Its own builder lets the last of two equal names win and
/// searches all earlier members for each name, which takes quadratic time on hostile text.
class Builder final : public nlohmann::json_sax<Json> {
 public:
  Builder(std::string_view text, const std::string& file, ErrorCode code, const std::string& prefix,
          Json& root)
      : text_(text), file_(file), code_(code), prefix_(prefix), root_(root) {}

  bool null() override { return add(nullptr); }
  bool boolean(bool value) override { return add(value); }
  bool number_integer(std::int64_t value) override { return add(value); }
  bool number_unsigned(std::uint64_t value) override { return add(value); }
  bool number_float(double value, const std::string&) override { return add(value); }
  bool string(std::string& value) override { return add(std::move(value)); }
  bool binary(Json::binary_t&) override { return false; }  // never occurs in text

  bool start_object(std::size_t) override { return open(Json::object()); }
  bool end_object() override { return close(); }
  bool start_array(std::size_t) override { return open(Json::array()); }
  bool end_array() override { return close(); }

  bool key(std::string& name) override {
    Level& level = levels_.back();
    if (!level.names.insert(name).second) {
      throw Error(code_, "this name occurs twice in its object; remove one of the two",
                  {.file = file_, .pointer = pointer() + pointer_token(name)});
    }
    level.name = std::move(name);
    return true;
  }

  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::json::exception& reason) override {
    // Strip the position from nlohmann's message.
    std::string_view what = reason.what();
    what.remove_prefix(std::min(what.find("] ") + 2, what.size()));
    if (what.starts_with("parse error")) {
      what.remove_prefix(std::min(what.find(": ") + 2, what.size()));
    }
    const std::string_view before = text_.substr(0, position == 0 ? 0 : position - 1);
    const auto line = static_cast<std::uint64_t>(std::ranges::count(before, '\n')) + 1;
    const std::size_t line_start = before.rfind('\n') + 1;  // npos + 1 is 0
    Error::Where where = {.file = file_, .pointer = prefix_};
    // Lines of a text inside another document are not lines of the file.
    if (prefix_.empty()) where.line = line;
    throw Error(code_,
                "not valid JSON at column " + std::to_string(before.size() - line_start + 1) +
                    "; the parser says " + excerpt(what),
                where);
  }

 private:
  /// An open array or object.
  struct Level {
    Json* container;
    std::set<std::string> names = {};  // of an object's members so far
    std::string name = {};             // of the member whose value comes next
  };

  /// Stores a value in its container and returns its address.
  Json* append(Json&& value) {
    if (levels_.empty()) {
      root_ = std::move(value);
      return &root_;
    }
    Level& level = levels_.back();
    if (auto* array = level.container->get_ptr<Json::array_t*>()) {
      return &array->emplace_back(std::move(value));
    }
    auto& object = level.container->get_ref<Json::object_t&>();
    // emplace_back() of the vector underneath: the name is known to be new.
    return &object.emplace_back(level.name, std::move(value)).second;
  }

  template <typename Value>
  bool add(Value&& value) {
    append(Json(std::forward<Value>(value)));
    return true;
  }

  bool open(Json&& container) {
    if (levels_.size() == kMaxJsonDepth) {
      throw Error(code_,
                  "arrays and objects are nested more than " + std::to_string(kMaxJsonDepth) +
                      " deep; flatten the value",
                  {.file = file_, .pointer = pointer()});
    }
    // The address stays valid: siblings are appended only after the container is closed.
    levels_.push_back({append(std::move(container))});
    return true;
  }

  bool close() {
    levels_.pop_back();
    return true;
  }

  /// Of the innermost open container.
  std::string pointer() const {
    std::string pointer = prefix_;
    for (std::size_t i = 0; i + 1 < levels_.size(); ++i) {
      const Json& container = *levels_[i].container;
      pointer += container.is_array() ? "/" + std::to_string(container.size() - 1)
                                      : pointer_token(levels_[i].name);
    }
    return pointer;
  }

  std::string_view text_;
  const std::string& file_;
  ErrorCode code_;
  const std::string& prefix_;
  Json& root_;
  std::vector<Level> levels_;
};

std::string describe(const Json& value) {
  switch (value.type()) {
    case Json::value_t::string:
      return "the string " + excerpt(value.get_ref<const std::string&>());
    case Json::value_t::array:
      return "an array of " + std::to_string(value.size());
    case Json::value_t::object:
      return "an object";
    case Json::value_t::null:
      return "null";
    case Json::value_t::boolean:
      return value.get<bool>() ? "true" : "false";
    default:
      return "the number " + value.dump();
  }
}

}  // namespace

JsonDocument::JsonDocument(std::string_view text, std::string file, ErrorCode code,
                           std::string pointer_prefix)
    : file_(std::move(file)), code_(code), pointer_prefix_(std::move(pointer_prefix)) {
  Builder builder(text, file_, code_, pointer_prefix_, value_);
  Json::sax_parse(text, &builder);  // throws on errors
}

JsonDocument JsonDocument::from_value(Json value, ErrorCode code) {
  JsonDocument document(code);
  document.value_ = std::move(value);
  return document;
}

JsonView JsonDocument::root() const { return {*this, &value_, pointer_prefix_}; }

const std::string& JsonView::string(std::string_view expected) const {
  if (!is_string()) fail(expected);
  return value_->get_ref<const std::string&>();
}

bool JsonView::boolean(std::string_view expected) const {
  if (!present() || !value_->is_boolean()) fail(expected);
  return value_->get<bool>();
}

double JsonView::number(double least, double most, std::string_view expected) const {
  if (!present() || !value_->is_number()) fail(expected);
  // JSON has no NaN, and nlohmann rejects numbers too large for a double.
  const double number = value_->get<double>();
  if (!(number >= least && number <= most)) fail(expected);
  return number;
}

std::uint64_t JsonView::integer(std::uint64_t least, std::uint64_t most,
                                std::string_view expected) const {
  // nlohmann reads 1.0 and numbers above 2^64 as floating point, and -1 as signed.
  if (!present() || !value_->is_number_unsigned()) fail(expected);
  const auto number = value_->get<std::uint64_t>();
  if (number < least || number > most) fail(expected);
  return number;
}

std::uint32_t JsonView::uint32(std::uint32_t least, std::uint32_t most) const {
  return static_cast<std::uint32_t>(integer(
      least, most, "a whole number from " + std::to_string(least) + " to " + std::to_string(most)));
}

Budget JsonView::budget() const {
  if (is_string() && value_->get_ref<const std::string&>() == "unlimited") {
    return Budget::unlimited();
  }
  return Budget(static_cast<std::uint32_t>(
      integer(1, UINT32_MAX - 1, "a number of tokens from 1 to 4294967294, or \"unlimited\"")));
}

std::optional<std::variant<bool, std::int64_t, double, std::string, std::vector<std::string>>>
JsonView::plain() const {
  if (!present()) return {};
  switch (value_->type()) {
    case Json::value_t::boolean:
      return value_->get<bool>();
    case Json::value_t::number_integer:
      return value_->get<std::int64_t>();
    case Json::value_t::number_unsigned:
      if (const auto number = value_->get<std::uint64_t>(); std::in_range<std::int64_t>(number)) {
        return static_cast<std::int64_t>(number);
      }
      return value_->get<double>();
    case Json::value_t::number_float:
      return value_->get<double>();
    case Json::value_t::string:
      return value_->get<std::string>();
    case Json::value_t::array: {
      std::vector<std::string> strings;
      for (const JsonView& element : elements()) strings.push_back(element.string());
      return strings;
    }
    default:
      return {};
  }
}

std::string JsonView::text() const { return value_->dump(); }

std::optional<std::string> JsonView::whole_number() const {
  if (!present() || !value_->is_number()) return std::nullopt;
  if (!value_->is_number_float()) return value_->dump();
  // Above 2^53 a number may have been rounded to another one.
  const double number = value_->get<double>();
  if (number != std::floor(number) || std::abs(number) > 9007199254740992) return std::nullopt;
  return std::to_string(static_cast<std::int64_t>(number));
}

std::vector<JsonView> JsonView::elements(std::string_view expected) const {
  if (!present() || !value_->is_array()) fail(expected);
  std::vector<JsonView> views;
  views.reserve(value_->size());
  for (const Json& element : *value_) {
    views.push_back({*document_, &element, pointer_ + "/" + std::to_string(views.size())});
  }
  return views;
}

std::vector<std::pair<std::string_view, JsonView>> JsonView::members(
    std::string_view expected) const {
  if (!present() || !value_->is_object()) fail(expected);
  std::vector<std::pair<std::string_view, JsonView>> views;
  views.reserve(value_->size());
  for (const auto& [name, value] : value_->get_ref<const Json::object_t&>()) {
    views.push_back({name, {*document_, &value, pointer_ + pointer_token(name)}});
  }
  return views;
}

JsonView JsonView::operator[](std::string_view name) const {
  if (!present() || !value_->is_object()) fail("an object");
  // Linear search: objects keep their order, and the ones searched here are small.
  const Json* member = nullptr;
  for (const auto& [key, value] : value_->get_ref<const Json::object_t&>()) {
    if (key == name) member = &value;
  }
  return {*document_, member, pointer_ + pointer_token(name)};
}

void JsonView::refuse_misspelt(std::initializer_list<std::string_view> known) const {
  for (const auto& [name, view] : members()) {
    if (std::ranges::find(known, name) != known.end()) continue;
    for (const std::string_view field : known) {
      if (internal::is_misspelling(name, field) && !(*this)[field].present()) {
        view.fail_with("this field is not known, but looks like " + excerpt(field) +
                       ", which is absent; correct the spelling or choose another name");
      }
    }
  }
}

void JsonView::fail(std::string_view expected) const {
  fail_with(present() ? "found " + describe(*value_) + ", expected " + std::string(expected)
                      : "this field is missing; add it as " + std::string(expected));
}

void JsonView::fail_with(const std::string& message) const { fail_with(document_->code_, message); }

void JsonView::fail_with(ErrorCode code, const std::string& message) const {
  throw Error(code, message, {.file = document_->file_, .pointer = pointer_});
}

Json budget_to_json(Budget budget) {
  if (budget.is_unlimited()) return "unlimited";
  return budget.tokens();
}

}  // namespace r2router::io
