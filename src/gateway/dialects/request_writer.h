// Common parts of the request writers of all dialects.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "gateway/dialects/dialect.h"

namespace r2router::gateway {

/// The least budget for thinking that Anthropic accepts.
inline constexpr std::uint64_t kLeastThinking = 1024;

/// Plans the fields of the body to send, then writes it. Later changes of a field override earlier
/// ones.
class RequestWriter {
 public:
  /// Sets the model, and removes `r2` and the parameters of ModelSpec::omit, except `needed` ones.
  RequestWriter(const ClientRequest& request, const Target& target,
                std::initializer_list<std::string_view> needed);

  /// The cap to send: never above the client's own.
  std::uint32_t cap() const { return cap_; }
  /// ModelSpec::instruction and the budget instruction; may be empty.
  const std::string& instructions() const { return instructions_; }

  /// A field as planned: JSON text; empty if there is none.
  std::string_view field(std::string_view name) const;
  void set(std::string_view name, std::string json);
  void remove(std::string_view name) { set(name, {}); }
  /// Removes a member of a field that is an object.
  void remove_within(std::string_view name, std::string_view member);
  /// Sets a field. If it and `json` are objects, only the members of `json` are set.
  void merge(std::string_view name, std::string_view json);
  /// merge() of every member of ModelSpec::request. `translate(name, json)` returns true for
  /// members that it has written in another way.
  template <typename Translate>
  void merge_request(Translate translate) {
    const JsonText request = required_parameters();
    for (const JsonValue member : request.root().children()) {
      if (!translate(member)) merge(member.name(), member.raw());
    }
  }
  /// Lowers a reasoning budget (field.member, or the field itself if `member` is empty; tokens)
  /// below the cap, in proportion to the cap. Returns false if even `least` is not below it.
  bool fit_reasoning(std::string_view field, std::string_view member, std::uint64_t least);

  /// For edits within fields that are not planned.
  JsonEditor& editor() { return editor_; }
  JsonValue root() const { return request_.json.root(); }

  /// Appends the instructions to a text: a JSON string, or a list of parts, to which `part` is
  /// added.
  void instruct(JsonValue text, const std::string& part);

  std::string text() &&;

 private:
  struct Field {
    std::string name;
    std::string json;  // empty: removed
  };

  JsonText required_parameters() const;

  const ClientRequest& request_;
  const ModelSpec& model_;
  std::uint32_t cap_;
  std::string instructions_;
  JsonEditor editor_;
  std::vector<Field> fields_;
};

}  // namespace r2router::gateway
