#include "gateway/dialects/model_list.h"

#include <chrono>
#include <cstdio>
#include <vector>

#include "base/json_writer.h"

namespace r2router::gateway {
namespace {

constexpr std::string_view kPrefix = "claude/";

/// "2026-01-31T12:00:00Z".
std::string timestamp(std::int64_t seconds) {
  namespace chrono = std::chrono;
  const chrono::sys_seconds time{chrono::seconds(seconds)};
  const auto day = chrono::floor<chrono::days>(time);
  const chrono::year_month_day date{day};
  const chrono::hh_mm_ss clock{time - day};
  char text[64];
  std::snprintf(text, sizeof(text), "%04d-%02u-%02uT%02d:%02d:%02dZ", static_cast<int>(date.year()),
                static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()),
                static_cast<int>(clock.hours().count()), static_cast<int>(clock.minutes().count()),
                static_cast<int>(clock.seconds().count()));
  return text;
}

std::string listed_id(const ListedModel& model, bool for_anthropic) {
  const bool listed = model.id.starts_with("claude") || model.id.starts_with("anthropic");
  return for_anthropic && !listed ? std::string(kPrefix) + model.id : model.id;
}

std::string_view display_name(const ListedModel& model) {
  return model.display_name.empty() ? model.id : model.display_name;
}

void write_entry(ObjectWriter& entry, const ListedModel& model, std::int64_t created,
                 bool for_anthropic) {
  entry.text("id", listed_id(model, for_anthropic));
  entry.text("object", "model");
  entry.text("type", "model");
  entry.text("display_name", display_name(model));
  entry.number("created", created);
  entry.text("created_at", timestamp(created));
  entry.text("owned_by", model.owner.empty() ? "r2router" : model.owner);
}

/// An entry in the form that Codex reads. If it has no prompt for the model, Codex uses its own.
void write_for_codex(ObjectWriter& entry, const ListedModel& model) {
  struct Level {
    std::string_view effort, description;
  };
  std::vector<Level> levels;
  if (!model.capabilities || model.capabilities->has(Capability::kReasoning)) {
    levels = {
        {"low", "Shorter reasoning"}, {"medium", "Usual reasoning"}, {"high", "Longer reasoning"}};
  }
  entry.text("slug", model.id);
  entry.text("display_name", display_name(model));
  entry.number_or_null("context_window", model.context_tokens);
  entry.list("supported_reasoning_levels", levels, [](ObjectWriter& object, const Level& level) {
    object.text("effort", level.effort);
    object.text("description", level.description);
  });
  entry.text("visibility", "list");
  entry.boolean("supported_in_api", true);
}

}  // namespace

std::string model_list(std::span<const ListedModel> models, std::int64_t created,
                       bool for_anthropic) {
  std::string json;
  ObjectWriter document(json);
  document.text("object", "list");
  document.list("data", models, [&](ObjectWriter& entry, const ListedModel& model) {
    write_entry(entry, model, created, for_anthropic);
  });
  document.text_or_null("first_id", models.empty() ? "" : listed_id(models.front(), for_anthropic));
  document.text_or_null("last_id", models.empty() ? "" : listed_id(models.back(), for_anthropic));
  document.boolean("has_more", false);
  document.list("models", models, write_for_codex);
  document.close();
  return json;
}

std::string model_entry(const ListedModel& model, std::int64_t created, bool for_anthropic) {
  std::string json;
  ObjectWriter entry(json);
  write_entry(entry, model, created, for_anthropic);
  entry.close();
  return json;
}

std::string_view requested_model(std::string_view id) noexcept {
  return id.starts_with(kPrefix) ? id.substr(kPrefix.size()) : id;
}

}  // namespace r2router::gateway
