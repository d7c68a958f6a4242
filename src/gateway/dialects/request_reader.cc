#include "gateway/dialects/request_reader.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "base/unicode.h"

namespace r2router::gateway {
namespace {

constexpr std::string_view kOwnField = "r2";

/// Tools add notes for the model to the texts of a user.
bool is_reminder(JsonValue text) { return text.raw_string().starts_with("<system-reminder>"); }

bool is_blank_string(JsonValue text) {
  constexpr std::size_t kStart = 64;
  return internal::is_blank(JsonReader::unescape(text.raw_string(), kStart)) &&
         internal::is_blank(text.string());
}

bool says_something(JsonValue value, const std::vector<std::string_view>& harmless) {
  if (value.is_string()) {
    return !value.raw_string().empty() &&
           std::ranges::none_of(harmless,
                                [&](std::string_view text) { return value.equals(text); });
  }
  if (value.is_object() || value.is_array()) {
    for (const JsonValue child : value.children()) {
      if (says_something(child, harmless)) return true;
    }
    return false;
  }
  return value.is_something() && value.boolean().value_or(true);
}

}  // namespace

void refuse_field(const std::string& field, JsonValue found, std::string_view expected) {
  const std::string message = found.present()
                                  ? "found " + std::string(found.kind_name()) + ", expected "
                                  : std::string("this field is missing; add it as ");
  throw Error(ErrorCode::kInvalidArgument, message + std::string(expected), {.option = field});
}

std::string place(std::string_view list, std::size_t index) {
  return std::string(list) + "[" + std::to_string(index) + "]";
}

void read_r2(JsonValue r2, Policy& policy, std::string& policy_name) {
  if (!r2.is_something()) return;
  if (!r2.is_object()) {
    refuse_field(std::string(kOwnField), r2, "an object with settings of a policy");
  }
  const JsonText settings{std::string(r2.raw())};
  JsonEditor editor(settings);
  for (const JsonValue member : settings.root().children()) {
    const bool names_policy = member.is_named("policy");
    if (!names_policy && !member.is_null()) continue;
    if (member.is_something()) {
      if (!member.is_string()) refuse_field("r2.policy", member, "the name of a policy");
      policy_name = member.string();
    }
    editor.remove(settings.root(), member);
  }
  try {
    policy = parse_policy(editor.text(), std::string(kOwnField));
  } catch (const Error& error) {
    std::string field = std::string(kOwnField) + error.where().pointer;
    std::ranges::replace(field, '/', '.');
    throw Error(ErrorCode::kInvalidArgument, error.message(), {.option = field});
  }
}

RequestReader::RequestReader(DialectKind kind, std::string body) {
  request_.dialect = kind;
  request_.json = JsonText(std::move(body));
  if (!root().is_object()) {
    throw Error(ErrorCode::kInvalidArgument, "the body is " + std::string(root().kind_name()) +
                                                 ": expected a JSON object, the request");
  }
  if (const JsonValue model = root()["model"]; model.is_something()) {
    if (!model.is_string()) refuse_field("model", model, "a string");
    request_.model = model.string();
  }
  if (const JsonValue stream = root()["stream"]; stream.is_something()) {
    if (!stream.boolean()) refuse_field("stream", stream, "true or false");
    request_.stream = *stream.boolean();
  }
  read_r2(root()[kOwnField], request_.policy, request_.policy_name);
}

void RequestReader::read_cap(std::string_view name) {
  const JsonValue cap = root()[name];
  // Some clients send −1 for no limit.
  if (!cap.is_something() || cap.number() == -1) return;
  const std::optional<std::uint64_t> tokens = cap.count();
  if (!tokens || *tokens == 0) {
    throw Error(ErrorCode::kInvalidArgument,
                "found " +
                    (cap.is(JsonValue::Kind::kNumber) ? std::string(cap.raw().substr(0, 40))
                                                      : std::string(cap.kind_name())) +
                    ", expected a whole number of tokens, 1 or more",
                {.option = std::string(name)});
  }
  constexpr std::uint64_t kMost = std::numeric_limits<std::uint32_t>::max() - 1;
  const auto limit = static_cast<std::uint32_t>(std::min(*tokens, kMost));
  request_.cap = std::min(request_.cap.value_or(limit), limit);
}

void RequestReader::read_surcharges(std::span<const SurchargeRule> rules) {
  for (const JsonValue member : root().children()) {
    for (const SurchargeRule& rule : rules) {
      if (member.is_named(rule.field) && says_something(member, rule.harmless)) {
        add_surcharge(std::string(rule.field), std::string(rule.why));
      }
    }
  }
}

void RequestReader::add_surcharge(std::string field, std::string why) {
  // One of a kind says enough.
  const bool known =
      std::ranges::find(request_.surcharges, why, &Surcharge::why) != request_.surcharges.end();
  if (!known) request_.surcharges.push_back({std::move(field), std::move(why)});
}

void RequestReader::read_cache_control() {
  request_.json.for_each_named("cache_control", [&](JsonValue control) {
    if (!control.is_something()) return;
    request_.writes_cache = true;
    const JsonValue ttl = control["ttl"];
    if (ttl.is_something() && !ttl.equals("5m")) {
      add_surcharge("cache_control.ttl", "writing to a cache for longer than usual costs more");
    }
  });
}

void RequestReader::read_effort(JsonValue effort) {
  if (effort.is_string() && !effort.raw_string().empty() && !effort.equals("none") &&
      !effort.equals("minimal")) {
    require(Capability::kReasoning);
  }
}

void RequestReader::begin_message(bool of_user) {
  end_message();
  input_.add_message();
  of_user_ = of_user;
}

void RequestReader::route_on(JsonValue text) { texts_.push_back(text); }

void RequestReader::add_text(JsonValue text, const std::string& field) {
  if (!text.is_string()) refuse_field(field, text, "a string");
  input_.add_text(text);
  route_on(text);
}

void RequestReader::end_message() {
  const bool has_text =
      std::ranges::any_of(texts_, [](JsonValue text) { return !is_blank_string(text); });
  const bool has_own_text = std::ranges::any_of(
      texts_, [](JsonValue text) { return !is_reminder(text) && !is_blank_string(text); });
  if (has_own_text) std::erase_if(texts_, is_reminder);
  std::vector<JsonValue>& last = of_user_ ? user_texts_ : any_texts_;
  if (has_own_text || (has_text && last.empty())) last = texts_;
  texts_.clear();
}

ClientRequest RequestReader::finish(std::string_view budget_prompt) && {
  end_message();
  for (const JsonValue text : user_texts_.empty() ? any_texts_ : user_texts_) {
    if (!request_.text.empty()) request_.text += '\n';
    request_.text += text.string();
  }
  const Capabilities requirements = request_.size.requirements;
  request_.size = input_.size(request_.json.text().size(), budget_prompt);
  request_.size.requirements = requirements;
  if (input_.images() > 0) request_.size.requirements.add(Capability::kImages);
  return std::move(request_);
}

}  // namespace r2router::gateway
