// Common parts of the request readers of all dialects.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "gateway/dialects/dialect.h"
#include "gateway/dialects/input_size.h"

namespace r2router::gateway {

/// Throws Error(kInvalidArgument) for a field of a request.
[[noreturn]] void refuse_field(const std::string& field, JsonValue found,
                               std::string_view expected);

/// The place of an element of a list, for errors: "messages[0]".
std::string place(std::string_view list, std::size_t index);

/// A field that makes a request cost more than its worst case, unless its value is null, false, an
/// empty string or list, or one of the `harmless` strings.
struct SurchargeRule {
  std::string_view field;
  std::string_view why;
  std::vector<std::string_view> harmless = {};
};

/// True unless the value is null, false, an empty string, one of the `harmless` strings, or a list
/// of these.
bool says_something(JsonValue value, std::span<const std::string_view> harmless = {});

/// Reads the object `r2`, which may be missing: settings of a policy, and "policy", the name of
/// one.
void read_r2(JsonValue r2, Policy& policy, std::string& policy_name);

/// Parses a request in parts.
class RequestReader {
 public:
  /// Parses the body and reads "model", "stream" and "r2".
  RequestReader(DialectKind kind, std::string body);
  RequestReader(const RequestReader&) = delete;
  RequestReader& operator=(const RequestReader&) = delete;

  JsonValue root() const { return request_.json.root(); }
  ClientRequest& request() { return request_; }
  InputSize& input() { return input_; }

  /// Reads a field with a cap, which may be missing or −1. The lowest cap counts.
  void read_cap(std::string_view name);
  /// Adds surcharges for fields that match a rule, and for fields that are neither in `free` nor
  /// have a rule, since an unknown field may not be free of charge. Also reads every
  /// "cache_control" in the body.
  void read_surcharges(std::span<const SurchargeRule> rules,
                       std::span<const std::string_view> free);
  /// The same for the members of an object within the request. `name`: its place.
  void read_unknown(JsonValue object, const std::string& name,
                    std::span<const std::string_view> free);
  /// A field with settings of the reasoning, which may be missing: unknown members are surcharges.
  /// `budget`: the member with a number of tokens, which the writer keeps below the cap; a
  /// surcharge if it is not a whole number.
  void read_reasoning(std::string_view field, std::string_view budget,
                      std::span<const std::string_view> free);
  /// The same for a budget that is a field itself.
  void read_budget(JsonValue budget, const std::string& name);
  void add_surcharge(std::string field, std::string why);
  /// A list of tools, which may be missing. Tools that the server runs, not the client, are
  /// surcharges. `list`: its place.
  void read_tools(JsonValue tools, const std::string& list, bool (*is_client_tool)(JsonValue));
  /// An image of a part. `url`: of its data; it may be missing. Anything that is not known to be an
  /// image, such as a document or a video, is a surcharge. `name`: the place of the part.
  void read_image(JsonValue url, const std::string& name);
  /// Adds a surcharge for a part of a message, or another element, of unknown type.
  void add_unknown_type(const std::string& name, JsonValue type);
  void require(Capability capability) { request_.size.requirements.add(capability); }
  /// A level of reasoning effort: all but the lowest require reasoning.
  void read_effort(JsonValue effort);

  /// Messages in order: begin_message(), then route_on() for each of its texts.
  void begin_message(bool of_user);
  /// `text`: a JSON string. `field`: its place, for errors.
  void route_on(JsonValue text);
  /// The same for a member that must be a string.
  void add_text(JsonValue text, const std::string& field);

  ClientRequest finish(std::string_view budget_prompt) &&;

 private:
  void end_message();
  /// Every "cache_control" in the body.
  void read_cache_control();
  void add(Surcharge surcharge);
  /// Adds a surcharge for an unknown member of the object at `place`, which is empty or ends with a
  /// point.
  void add_unknown(const std::string& place, const std::string& member);

  ClientRequest request_;
  InputSize input_;
  bool of_user_ = false;
  std::vector<JsonValue> texts_, user_texts_, any_texts_;
};

}  // namespace r2router::gateway
