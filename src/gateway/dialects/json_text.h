// Reads and edits JSON in place, and preserves everything that is not edited byte by byte.
//
//     const JsonText text(R"({"model": "auto", "n": 1.0})");
//     JsonEditor editor(text);
//     editor.replace(text.root()["model"], R"("gpt-5")");
//     editor.text();  // {"model": "gpt-5", "n": 1.0}
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json_reader.h"

namespace r2router::gateway {

class JsonText;

/// A value within a JsonText, which must outlive it, or a missing one.
class JsonValue {
 public:
  using Kind = JsonReader::Kind;
  class Children;

  JsonValue() = default;  // missing

  /// False for a member that does not exist.
  bool present() const { return text_ != nullptr; }
  bool is(Kind kind) const;
  bool is_null() const { return is(Kind::kNull); }
  bool is_string() const { return is(Kind::kString); }
  bool is_object() const { return is(Kind::kObject); }
  bool is_array() const { return is(Kind::kArray); }
  /// Neither missing nor null.
  bool is_something() const { return present() && !is_null(); }
  /// In words: "an object", "null", …; "nothing" if missing.
  std::string_view kind_name() const;

  /// The member with this name; missing if this is not an object or has no such member.
  JsonValue operator[](std::string_view name) const;
  /// The values in an array or an object, in order; none for another kind.
  Children children() const;

  /// The name in its object, unescaped; empty for an element of an array.
  std::string name() const;
  bool is_named(std::string_view name) const;

  /// The value's text in the document.
  std::string_view raw() const;
  /// The bytes between the quotes of a string; empty for another kind.
  std::string_view raw_string() const;
  /// The contents of a string; empty for another kind.
  std::string string() const;
  /// True if this is a string equal to `text`.
  bool equals(std::string_view text) const;
  /// A boolean's value; empty for another kind.
  std::optional<bool> boolean() const;
  /// A number's value; empty for another kind, and if it is not finite.
  std::optional<double> number() const;
  /// A whole number, at least 0; if it is too large, the largest value. Empty for anything else.
  std::optional<std::uint64_t> count() const;

 private:
  friend class JsonText;
  friend class JsonEditor;
  JsonValue(const JsonText* text, std::uint32_t index) : text_(text), index_(index) {}

  const JsonText* text_ = nullptr;
  std::uint32_t index_ = 0;
};

/// A parsed JSON text. Owns the text.
class JsonText {
 public:
  /// Maximum nesting of arrays and objects.
  static constexpr std::size_t kMaxDepth = 512;
  /// Maximum number of values: each takes 24 bytes.
  static constexpr std::size_t kMaxValues = 1'000'000;

  /// The text "null".
  JsonText();
  /// Throws Error(kInvalidArgument) if the text is not exactly one JSON value in UTF-8, if an
  /// object has two members of the same name, or if a limit is exceeded.
  explicit JsonText(std::string text);

  /// Parses another text, reusing memory.
  void assign(std::string_view text);

  JsonValue root() const { return {this, 0}; }
  const std::string& text() const { return text_; }

  /// Calls visit(value) for each member with this name, at any depth.
  template <typename Visit>
  void for_each_named(std::string_view name, Visit visit) const {
    for (std::uint32_t i = 0; i < nodes_.size(); ++i) {
      const JsonValue value(this, i);
      if (nodes_[i].name_end > 0 && value.is_named(name)) visit(value);
    }
  }

 private:
  friend class JsonValue;
  friend class JsonEditor;

  /// A value. Its children follow it; `next` is the index after them.
  struct Node {
    std::uint32_t begin, end;            // of the value in the text
    std::uint32_t name_begin, name_end;  // of its name, between the quotes; both 0: none
    std::uint32_t next;
    JsonValue::Kind kind;
  };

  void parse();
  void refuse_repeated_names(std::uint32_t object);
  std::string path_of(std::uint32_t index) const;

  std::string text_;
  std::vector<Node> nodes_;
  std::vector<std::uint32_t> open_;  // containers, while parsing
};

class JsonValue::Children {
 public:
  class Iterator {
   public:
    Iterator(const JsonText* text, std::uint32_t index) : text_(text), index_(index) {}
    JsonValue operator*() const { return {text_, index_}; }
    Iterator& operator++();
    bool operator!=(const Iterator& other) const { return index_ != other.index_; }

   private:
    const JsonText* text_;
    std::uint32_t index_;
  };

  Children() = default;
  Children(const JsonText* text, std::uint32_t first, std::uint32_t end)
      : text_(text), first_(first), end_(end) {}
  Iterator begin() const { return {text_, first_}; }
  Iterator end() const { return {text_, end_}; }
  bool empty() const { return first_ == end_; }

 private:
  const JsonText* text_ = nullptr;
  std::uint32_t first_ = 0, end_ = 0;
};

/// Collects edits of a JsonText, which must outlive it, and applies them. `json` is JSON text. A
/// value may only be edited once: replaced, removed, or extended by members or elements.
class JsonEditor {
 public:
  explicit JsonEditor(const JsonText& text) : text_(text) {}

  void replace(JsonValue value, std::string json);
  /// Removes a member of an object, with its name, or an element of an array.
  void remove(JsonValue container, JsonValue child);
  /// Sets a member of an object: replaces its value, or adds it at the end.
  void set(JsonValue object, std::string_view name, std::string json);
  void append_element(JsonValue array, std::string json);
  void prepend_element(JsonValue array, std::string json);
  /// Appends to the contents of a string.
  void append_text(JsonValue string, std::string_view text);

  bool empty() const { return edits_.empty() && removed_.empty() && added_.empty(); }
  std::string text() const;

 private:
  struct Edit {
    std::uint32_t begin, end;
    std::string text;
  };
  struct Removed {
    std::uint32_t container, child;
    friend auto operator<=>(const Removed&, const Removed&) = default;
  };
  struct Added {
    std::uint32_t container;
    std::string json;  // a member with its name, or an element
  };

  void add_removals(std::span<const Removed> removed, std::vector<Edit>& edits) const;

  const JsonText& text_;
  std::vector<Edit> edits_;
  std::vector<Removed> removed_;
  std::vector<Added> added_;
};

/// `text` as a JSON string, in quotes.
std::string json_string(std::string_view text);

}  // namespace r2router::gateway
