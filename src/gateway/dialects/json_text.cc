// The values of a JsonText are an array in the order of the text, so parsing needs neither
// recursion nor an allocation for each value, and the next sibling of a value is found without
// visiting its children. An edit is a range of bytes and its replacement.
#include "gateway/dialects/json_text.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <system_error>
#include <tuple>

#include <nlohmann/json.hpp>

#include "base/excerpt.h"

namespace r2router::gateway {
namespace {

[[noreturn]] void refuse(const std::string& message, const std::string& path = {}) {
  throw Error(ErrorCode::kInvalidArgument, message, {.option = path});
}

bool has_escape(std::string_view raw) { return raw.find('\\') != raw.npos; }

}  // namespace

// ---- JsonValue

bool JsonValue::is(Kind kind) const { return present() && text_->nodes_[index_].kind == kind; }

std::string_view JsonValue::kind_name() const {
  return present() ? JsonReader::name(text_->nodes_[index_].kind) : "nothing";
}

JsonValue JsonValue::operator[](std::string_view name) const {
  if (!is_object()) return {};
  for (const JsonValue member : children()) {
    if (member.is_named(name)) return member;
  }
  return {};
}

JsonValue::Children JsonValue::children() const {
  if (!is_object() && !is_array()) return {};
  return {text_, index_ + 1, text_->nodes_[index_].next};
}

JsonValue::Children::Iterator& JsonValue::Children::Iterator::operator++() {
  index_ = text_->nodes_[index_].next;
  return *this;
}

std::string JsonValue::name() const {
  if (!present()) return {};
  const JsonText::Node& node = text_->nodes_[index_];
  return JsonReader::unescape(
      std::string_view(text_->text_).substr(node.name_begin, node.name_end - node.name_begin));
}

bool JsonValue::is_named(std::string_view name) const {
  const JsonText::Node& node = text_->nodes_[index_];
  const std::string_view raw =
      std::string_view(text_->text_).substr(node.name_begin, node.name_end - node.name_begin);
  return raw == name || (has_escape(raw) && JsonReader::unescape(raw) == name);
}

std::string_view JsonValue::raw() const {
  if (!present()) return {};
  const JsonText::Node& node = text_->nodes_[index_];
  return std::string_view(text_->text_).substr(node.begin, node.end - node.begin);
}

std::string_view JsonValue::raw_string() const {
  if (!is_string()) return {};
  const std::string_view quoted = raw();
  return quoted.substr(1, quoted.size() - 2);
}

std::string JsonValue::string() const { return JsonReader::unescape(raw_string()); }

bool JsonValue::equals(std::string_view text) const {
  if (!is_string()) return false;
  const std::string_view raw = raw_string();
  return raw == text || (has_escape(raw) && JsonReader::unescape(raw) == text);
}

std::optional<bool> JsonValue::boolean() const {
  if (!is(Kind::kBoolean)) return {};
  return raw() == "true";
}

std::optional<double> JsonValue::number() const {
  if (!is(Kind::kNumber)) return {};
  const std::string_view digits = raw();
  double value = 0;
  // Numbers that are too small are also reported as out of range.
  const std::errc error = std::from_chars(digits.data(), digits.data() + digits.size(), value).ec;
  if (error != std::errc() || !std::isfinite(value)) return {};
  return value;
}

std::optional<std::uint64_t> JsonValue::count() const {
  if (!is(Kind::kNumber)) return {};
  constexpr std::uint64_t kMost = std::numeric_limits<std::uint64_t>::max();
  const std::string_view digits = raw();
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (end == digits.data() + digits.size()) {
    return error == std::errc() ? value : kMost;
  }
  // A whole number in another form, such as 1000.0 or 1e3.
  const std::optional<double> number = this->number();
  if (!number || *number < 0 || *number != std::floor(*number)) return {};
  return *number < 0x1p64 ? static_cast<std::uint64_t>(*number) : kMost;
}

// ---- JsonText

JsonText::JsonText() : JsonText("null") {}

JsonText::JsonText(std::string text) : text_(std::move(text)) { parse(); }

void JsonText::assign(std::string_view text) {
  text_ = text;
  parse();
}

void JsonText::parse() {
  nodes_.clear();
  open_.clear();
  if (text_.size() >= std::numeric_limits<std::uint32_t>::max()) {
    refuse("the JSON has 4 GiB or more; send less");
  }
  // For values of the usual length. A request keeps this memory until its answer has ended.
  constexpr std::size_t kBytesPerValue = 64, kUsualValues = 4096;
  nodes_.reserve(std::min(text_.size() / kBytesPerValue + 1, kUsualValues));
  using Kind = JsonValue::Kind;
  JsonReader reader(text_, ErrorCode::kInvalidArgument);
  const auto position = [&] { return static_cast<std::uint32_t>(reader.position()); };
  std::string_view name;
  for (;;) {
    const Kind kind = reader.kind();
    if (nodes_.size() == kMaxValues) {
      refuse("the JSON has more than " + std::to_string(kMaxValues) + " values; send fewer");
    }
    const auto index = static_cast<std::uint32_t>(nodes_.size());
    Node& node = nodes_.emplace_back();
    node.kind = kind;
    node.begin = position();
    node.next = index + 1;
    node.name_begin = node.name_end = 0;
    if (name.data() != nullptr) {
      node.name_begin = static_cast<std::uint32_t>(name.data() - text_.data());
      node.name_end = node.name_begin + static_cast<std::uint32_t>(name.size());
    }
    if (kind == Kind::kObject || kind == Kind::kArray) {
      if (open_.size() == kMaxDepth) {
        refuse("arrays and objects are nested more than " + std::to_string(kMaxDepth) +
               " deep; flatten them");
      }
      kind == Kind::kObject ? reader.begin_object() : reader.begin_array();
      open_.push_back(index);
    } else {
      reader.skip();
      node.end = position();
    }
    // Go to the next value, and close the containers that end before it.
    for (;; open_.pop_back()) {
      if (open_.empty()) return reader.end();
      const std::uint32_t container = open_.back();
      if (nodes_[container].kind == Kind::kObject) {
        if (reader.next_member()) {
          name = reader.raw_name();
          break;
        }
        refuse_repeated_names(container);
      } else if (reader.next_element()) {
        name = {};
        break;
      }
      nodes_[container].end = position();
      nodes_[container].next = static_cast<std::uint32_t>(nodes_.size());
    }
  }
}

/// Called before the object's `next` is set. Its members are all nodes after it that are not within
/// another node.
void JsonText::refuse_repeated_names(std::uint32_t object) {
  constexpr std::size_t kFew = 16;
  const auto end = static_cast<std::uint32_t>(nodes_.size());
  const auto raw_name = [&](std::uint32_t index) {
    const Node& node = nodes_[index];
    return std::string_view(text_).substr(node.name_begin, node.name_end - node.name_begin);
  };
  const auto refuse_name = [&](std::uint32_t member) {
    nodes_[object].next = end;
    refuse("the name " + excerpt(raw_name(member)) +
               " occurs twice in its object; remove one of the two",
           path_of(member));
  };
  std::uint32_t few[kFew];
  std::size_t count = 0;
  bool simple = true;
  for (std::uint32_t i = object + 1; i < end && simple; i = nodes_[i].next) {
    simple = count < kFew && !has_escape(raw_name(i));
    if (!simple) break;
    for (std::size_t earlier = 0; earlier < count; ++earlier) {
      if (raw_name(few[earlier]) == raw_name(i)) refuse_name(i);
    }
    few[count++] = i;
  }
  if (simple) return;
  std::vector<std::pair<std::string, std::uint32_t>> names;
  for (std::uint32_t i = object + 1; i < end; i = nodes_[i].next) {
    names.emplace_back(JsonReader::unescape(raw_name(i)), i);
  }
  std::ranges::sort(names);
  const auto twice =
      std::ranges::adjacent_find(names, {}, &std::pair<std::string, std::uint32_t>::first);
  if (twice != names.end()) refuse_name(std::next(twice)->second);
}

/// "messages[0].content" of a value. Containers that are still open reach to the end.
std::string JsonText::path_of(std::uint32_t index) const {
  std::string path;
  const auto end_of = [&](std::uint32_t i) {
    const bool open = std::ranges::find(open_, i) != open_.end();
    return open ? static_cast<std::uint32_t>(nodes_.size()) : nodes_[i].next;
  };
  for (std::uint32_t at = 0; at != index;) {
    const bool in_object = nodes_[at].kind == JsonValue::Kind::kObject;
    std::uint32_t child = at + 1;
    std::size_t place = 0;
    for (; end_of(child) <= index; child = end_of(child)) ++place;
    if (in_object) {
      if (!path.empty()) path += '.';
      path += JsonValue(this, child).name();
    } else {
      path += '[' + std::to_string(place) + ']';
    }
    at = child;
  }
  return path;
}

// ---- JsonEditor

void JsonEditor::replace(JsonValue value, std::string json) {
  const JsonText::Node& node = text_.nodes_[value.index_];
  edits_.push_back({node.begin, node.end, std::move(json)});
}

void JsonEditor::remove(JsonValue container, JsonValue child) {
  removed_.push_back({container.index_, child.index_});
}

void JsonEditor::set(JsonValue object, std::string_view name, std::string json) {
  if (const JsonValue member = object[name]; member.present()) {
    replace(member, std::move(json));
  } else {
    added_.push_back({object.index_, json_string(name) + ':' + std::move(json)});
  }
}

void JsonEditor::append_element(JsonValue array, std::string json) {
  added_.push_back({array.index_, std::move(json)});
}

void JsonEditor::prepend_element(JsonValue array, std::string json) {
  const std::uint32_t begin = text_.nodes_[array.index_].begin + 1;
  if (!array.children().empty()) json += ',';
  edits_.push_back({begin, begin, std::move(json)});
}

void JsonEditor::append_text(JsonValue string, std::string_view text) {
  const std::uint32_t end = text_.nodes_[string.index_].end - 1;
  const std::string quoted = json_string(text);
  edits_.push_back({end, end, quoted.substr(1, quoted.size() - 2)});
}

/// A child is removed with the comma before it, or, if none before it is kept, with the one after
/// it. `removed`: children of one container, in order.
void JsonEditor::add_removals(std::span<const Removed> removed, std::vector<Edit>& edits) const {
  const auto begin_of = [&](std::uint32_t child) {
    const JsonText::Node& node = text_.nodes_[child];
    return node.name_end > 0 ? node.name_begin - 1 : node.begin;  // the opening quote of its name
  };
  bool kept = false;                   // a child before
  std::uint32_t previous = 0;          // its end, or that of a removed one
  std::optional<std::uint32_t> begin;  // of the removed ones before the first that is kept
  for (const JsonValue child : JsonValue(&text_, removed.front().container).children()) {
    const std::uint32_t end = text_.nodes_[child.index_].end;
    if (!removed.empty() && removed.front().child == child.index_) {
      removed = removed.subspan(1);
      if (kept) {
        edits.push_back({previous, end, {}});
      } else if (!begin) {
        begin = begin_of(child.index_);
      }
    } else if (!std::exchange(kept, true) && begin) {
      edits.push_back({*begin, begin_of(child.index_), {}});
    }
    previous = end;
  }
  if (!kept && begin) edits.push_back({*begin, previous, {}});
}

std::string JsonEditor::text() const {
  std::vector<Edit> edits = edits_;
  // A client may send a long list, so the children of a container are only visited once.
  std::vector<Removed> removed = removed_;
  std::ranges::sort(removed);
  for (auto first = removed.begin(); first != removed.end();) {
    const auto end = std::find_if(first, removed.end(), [&](const Removed& other) {
      return other.container != first->container;
    });
    add_removals({first, end}, edits);
    first = end;
  }
  const auto is_removed = [&](std::uint32_t container, std::uint32_t child) {
    return std::ranges::binary_search(removed, Removed{container, child});
  };
  for (auto added = added_.begin(); added != added_.end(); ++added) {
    // The first one added to an empty container has no comma before it.
    bool alone = std::find_if(added_.begin(), added, [&](const Added& earlier) {
                   return earlier.container == added->container;
                 }) == added;
    std::uint32_t place = text_.nodes_[added->container].begin + 1;
    for (const JsonValue child : JsonValue(&text_, added->container).children()) {
      if (is_removed(added->container, child.index_)) continue;
      place = text_.nodes_[child.index_].end;
      alone = false;
    }
    edits.push_back({place, place, (alone ? "" : ",") + added->json});
  }
  // At the same position, insertions come before removals.
  std::ranges::stable_sort(edits, {},
                           [](const Edit& edit) { return std::tuple(edit.begin, edit.end); });
  const std::string_view source = text_.text_;
  std::string result;
  std::size_t size = source.size();
  for (const Edit& edit : edits) size += edit.text.size();
  result.reserve(size);
  std::uint32_t position = 0;
  for (const Edit& edit : edits) {
    result += source.substr(position, edit.begin - position);
    result += edit.text;
    position = edit.end;
  }
  result += source.substr(position);
  return result;
}

std::string json_string(std::string_view text) {
  return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace r2router::gateway
