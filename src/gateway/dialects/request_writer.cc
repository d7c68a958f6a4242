#include "gateway/dialects/request_writer.h"

#include <algorithm>
#include <utility>

#include "base/excerpt.h"
#include "pool/request_settings.h"

namespace r2router::gateway {
namespace {

std::string merged(JsonValue base, JsonValue override) {
  if (!base.is_object() || !override.is_object()) return std::string(override.raw());
  const JsonText copy{std::string(base.raw())};
  JsonEditor editor(copy);
  for (const JsonValue member : override.children()) {
    const std::string name = member.name();
    editor.set(copy.root(), name, merged(copy.root()[name], member));
  }
  return editor.text();
}

}  // namespace

RequestWriter::RequestWriter(const ClientRequest& request, const Target& target,
                             std::initializer_list<std::string_view> needed)
    : request_(request),
      model_(target.model),
      cap_(std::min(target.cap, request.cap.value_or(target.cap))),
      instructions_(target.model.instruction),
      editor_(request.json) {
  if (!instructions_.empty() && !target.budget_instruction.empty()) instructions_ += "\n\n";
  instructions_ += target.budget_instruction;
  remove("r2");
  for (const std::string& name : model_.omit) {
    if (internal::may_be_omitted(name) && std::ranges::find(needed, name) == needed.end()) {
      remove(name);
    }
  }
  set("model", json_string(model_.openrouter_id));
}

std::string_view RequestWriter::field(std::string_view name) const {
  const auto planned = std::ranges::find(fields_, name, &Field::name);
  return planned != fields_.end() ? planned->json : root()[name].raw();
}

void RequestWriter::set(std::string_view name, std::string json) {
  const auto planned = std::ranges::find(fields_, name, &Field::name);
  if (planned != fields_.end()) {
    planned->json = std::move(json);
  } else {
    fields_.push_back({std::string(name), std::move(json)});
  }
}

void RequestWriter::remove_within(std::string_view name, std::string_view member) {
  if (field(name).empty()) return;
  const JsonText object{std::string(field(name))};
  const JsonValue found = object.root()[member];
  if (!found.present()) return;
  JsonEditor editor(object);
  editor.remove(object.root(), found);
  set(name, editor.text());
}

void RequestWriter::merge(std::string_view name, std::string_view json) {
  if (field(name).empty()) return set(name, std::string(json));
  const JsonText base{std::string(field(name))}, override{std::string(json)};
  set(name, merged(base.root(), override.root()));
}

JsonText RequestWriter::required_parameters() const {
  if (model_.request.empty()) return {};
  JsonText request(model_.request);
  if (!request.root().is_object()) {
    throw Error(ErrorCode::kInvalidArgument,
                "the request of " + excerpt(model_.name) + " is " + excerpt(model_.request) +
                    R"(: expected a JSON object, such as {"reasoning_effort": "low"})");
  }
  for (const JsonValue member : request.root().children()) {
    if (!internal::may_be_required(member.name())) {
      throw Error(ErrorCode::kInvalidArgument, "the request of " + excerpt(model_.name) + " sets " +
                                                   excerpt(member.name()) +
                                                   ", which the router sets itself: remove it");
    }
  }
  return request;
}

bool RequestWriter::fit_reasoning(std::string_view name, std::string_view member,
                                  std::uint64_t least) {
  if (field(name).empty()) return true;
  const JsonText json{std::string(field(name))};
  const JsonValue value = member.empty() ? json.root() : json.root()[member];
  const std::optional<std::uint64_t> budget = value.count();
  if (!budget) return true;
  const std::optional<std::uint32_t>& own_cap = request_.cap;
  if (*budget < cap_ && (!own_cap || *own_cap == cap_)) return true;
  // If the client has no cap above the budget, half of the cap remains for the text of the answer.
  // With interleaved thinking, Anthropic accepts a budget above the cap, which then is no limit.
  const std::uint64_t share = own_cap && *budget < *own_cap ? *budget * cap_ / *own_cap : cap_ / 2;
  const std::uint64_t fitting = std::min(std::max(share, least), *budget);
  if (fitting >= cap_) return false;
  JsonEditor editor(json);
  editor.replace(value, std::to_string(fitting));
  set(name, editor.text());
  return true;
}

void RequestWriter::instruct(JsonValue text, const std::string& part) {
  if (text.is_array()) {
    editor_.append_element(text, part);
  } else {
    editor_.append_text(text, (text.raw_string().empty() ? "" : "\n\n") + instructions_);
  }
}

std::string RequestWriter::text() && {
  for (Field& field : fields_) {
    const JsonValue member = root()[field.name];
    if (!field.json.empty()) {
      editor_.set(root(), field.name, std::move(field.json));
    } else if (member.present()) {
      editor_.remove(root(), member);
    }
  }
  return editor_.text();
}

}  // namespace r2router::gateway
