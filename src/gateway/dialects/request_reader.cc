#include "gateway/dialects/request_reader.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "base/excerpt.h"
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

constexpr std::size_t kMostSurcharges = 32;

/// "messages[0].content[1]" as "messages.content".
std::string without_indices(std::string_view field) {
  std::string name;
  bool within = false;
  for (const char c : field) {
    if (c == '[' || c == ']') {
      within = c == '[';
    } else if (!within) {
      name += c;
    }
  }
  return name;
}

/// Removes the middle of a very long text. It is encoded on the loop, which must not be blocked.
void shorten(std::string& text) {
  constexpr std::size_t kHalf = kMostRoutedBytes / 2;
  if (text.size() <= kMostRoutedBytes) return;
  std::size_t begin = kHalf, end = text.size() - kHalf;
  while (is_continuation(text[begin])) --begin;
  while (is_continuation(text[end])) ++end;
  text.replace(begin, end - begin, "\n");
}

}  // namespace

bool says_something(JsonValue value, std::span<const std::string_view> harmless) {
  if (value.is_string()) {
    return !value.raw_string().empty() &&
           std::ranges::none_of(harmless,
                                [&](std::string_view text) { return value.equals(text); });
  }
  if (value.is_array()) {
    for (const JsonValue child : value.children()) {
      if (says_something(child, harmless)) return true;
    }
    return false;
  }
  // An empty object asks for the defaults, such as "web_search_options": {}.
  return value.is_something() && value.boolean().value_or(true);
}

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

void RequestReader::read_surcharges(std::span<const SurchargeRule> rules,
                                    std::span<const std::string_view> free) {
  const auto is_named = [](JsonValue member) {
    return [member](std::string_view name) { return member.is_named(name); };
  };
  for (const JsonValue member : root().children()) {
    if (std::ranges::any_of(free, is_named(member)) || member.is_named(kOwnField)) continue;
    const auto rule = std::ranges::find_if(rules, is_named(member), &SurchargeRule::field);
    if (rule == rules.end()) {
      if (says_something(member)) add_unknown({}, member.name());
    } else if (says_something(member, rule->harmless)) {
      add_surcharge(std::string(rule->field), std::string(rule->why));
    }
  }
  read_cache_control();
}

void RequestReader::read_unknown(JsonValue object, const std::string& name,
                                 std::span<const std::string_view> free) {
  for (const JsonValue member : object.children()) {
    const auto is_named = [&](std::string_view known) { return member.is_named(known); };
    if (std::ranges::any_of(free, is_named) || !says_something(member)) continue;
    add_unknown(name + ".", member.name());
  }
}

void RequestReader::read_reasoning(std::string_view field, std::string_view budget,
                                   std::span<const std::string_view> free) {
  const JsonValue settings = root()[field];
  if (!settings.is_object()) return;
  const std::string name(field);
  read_unknown(settings, name, free);
  read_budget(settings[budget], name + "." + std::string(budget));
}

void RequestReader::read_budget(JsonValue budget, const std::string& name) {
  if (!budget.is_something() || budget.count()) return;
  add_surcharge(name, "only a whole number of tokens can be kept below the cap");
}

void RequestReader::add_surcharge(std::string field, std::string why) {
  std::string name = without_indices(field);
  add({.field = std::move(field), .name = std::move(name), .why = std::move(why)});
}

void RequestReader::add_unknown(const std::string& place, const std::string& member) {
  // Names come from the client and may have any length.
  const bool usual = member.size() <= 64;
  add({.field = place + (usual ? member : excerpt(member)),
       .name = usual ? without_indices(place) + member : std::string(),
       .why = "the gateway does not know that it is free of charge"});
}

void RequestReader::add(Surcharge surcharge) {
  // One surcharge of each name is enough.
  std::vector<Surcharge>& all = request_.surcharges;
  if (std::ranges::find(all, surcharge.name, &Surcharge::name) != all.end()) return;
  if (all.size() > kMostSurcharges) return;
  // The last one has no name and so cannot be accepted, since others may have been dropped.
  if (all.size() == kMostSurcharges) surcharge.name.clear();
  all.push_back(std::move(surcharge));
}

void RequestReader::add_unknown_type(const std::string& name, JsonValue type) {
  add_surcharge(name + ".type",
                type.is_string()
                    ? "the gateway does not know what \"" + type.string().substr(0, 40) + "\" costs"
                    : "it has no type, so the gateway does not know what it costs");
}

void RequestReader::read_tools(JsonValue tools, const std::string& list,
                               bool (*is_client_tool)(JsonValue)) {
  if (!tools.is_something()) return;
  if (!tools.is_array()) refuse_field(list, tools, "a list of tools");
  if (tools.children().empty()) return;
  require(Capability::kTools);
  input().add_tools(tools);
  std::size_t index = 0;
  for (const JsonValue tool : tools.children()) {
    const std::string name = place(list, index++);
    if (is_client_tool(tool)) continue;
    add_surcharge(name + ".type", "the tool is run, and may be billed, by the server");
  }
}

void RequestReader::read_image(JsonValue url, const std::string& name) {
  input().add_image(url);
  if (!url.is_string()) return;
  constexpr std::size_t kScheme = 64;
  const std::string scheme = JsonReader::unescape(url.raw_string(), kScheme);
  for (const char* known : {"data:image/", "https://", "http://"}) {
    if (scheme.starts_with(known)) return;
  }
  add_surcharge(name, "only data:image/ and http URLs are known to be images");
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
  shorten(request_.text);
  const Capabilities requirements = request_.size.requirements;
  request_.size = input_.size(request_.json.text(), budget_prompt);
  request_.size.requirements = requirements;
  if (input_.images() > 0) request_.size.requirements.add(Capability::kImages);
  return std::move(request_);
}

}  // namespace r2router::gateway
