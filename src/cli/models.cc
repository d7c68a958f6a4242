// r2-router models: pool files and what a server's catalogue says of their models.
#include <algorithm>
#include <ctime>
#include <filesystem>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include "r2router/outcomes.h"

#include "base/file.h"
#include "base/usd.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "llm/catalogue.h"

namespace r2router::cli {
namespace {

using client::CatalogueModel;
using Json = nlohmann::ordered_json;  // keeps the order of the models, which is meaningful

constexpr std::uint64_t kLargestPool = std::uint64_t{16} << 20;  // bytes

constexpr const char* kFooter = R"(Examples:
  r2-router models sync --pool pool.json          # shows what would change, then asks
  r2-router models sync --pool pool.json --yes
  r2-router route --pool pool.json --query "..."  # decides by the pool's prices

A model is looked up by its "openrouter_id". One that the catalogue lacks, or whose last day has
passed, becomes unavailable; nothing is made available, since a model may be kept out for other
reasons. Everything else in the file stays, in its order, with an indentation of two spaces.)";

struct Settings {
  std::string pool, base_url = "https://openrouter.ai/api/v1", ca_file;
  bool yes = false;
};

/// "2026-01-31", in Coordinated Universal Time.
std::string today() {
  const std::time_t now = std::time(nullptr);
  std::tm date{};
  ::gmtime_r(&now, &date);
  char text[11];
  std::strftime(text, sizeof text, "%Y-%m-%d", &date);
  return text;
}

/// Compares a pool with a catalogue and brings it up to date.
class Synchronisation {
 public:
  Synchronisation(Json& pool, const std::vector<CatalogueModel>& catalogue)
      : pool_(pool), catalogue_(catalogue), today_(today()) {}

  /// What changes, a line each.
  std::vector<std::string> run() {
    for (auto& [name, model] : pool_.at("models").items()) synchronise(name, model);
    return std::move(changes_);
  }

 private:
  void synchronise(const std::string& name, Json& model) {
    const Json field = model.value("openrouter_id", Json());
    const std::string id = field.is_string() ? field.get<std::string>() : "";
    if (id.empty()) return;  // no catalogue has it
    const bool available = model.value("available", true);
    const auto found = std::ranges::find(catalogue_, id, &CatalogueModel::id);
    std::string reason;
    if (found == catalogue_.end()) {
      reason = "the catalogue has no " + id;
    } else if (!found->expiration_date.empty() && found->expiration_date < today_) {
      reason = "its last day was " + found->expiration_date;
    }
    if (!reason.empty()) {
      if (available) {
        model["available"] = false;
        changes_.push_back(name + ": available → unavailable (" + reason + ")");
      }
      return;
    }
    if (!available) {
      print_remark("note", name +
                               " is offered, but unavailable in the pool: set \"available\" to "
                               "true there if it may be called");
    }
    set_price(name, model, "input", found->input_price_per_million);
    set_price(name, model, "output", found->output_price_per_million);
    if (found->context_tokens && model.value("context_tokens", 0U) != *found->context_tokens) {
      changes_.push_back(
          name + ": context " +
          (model.contains("context_tokens") ? model["context_tokens"].dump() : "unknown") + " → " +
          std::to_string(*found->context_tokens) + " tokens");
      model["context_tokens"] = *found->context_tokens;
    }
  }

  void set_price(const std::string& name, Json& model, const std::string& kind,
                 const std::optional<double>& price) {
    Json& old = model.at(kind + "_price_per_million");
    if (!price) {
      print_remark("warning", name + ": the catalogue has no fixed " + kind +
                                  " price; the pool's stays, " + usd_text(old.get<double>()) +
                                  " per million tokens");
    } else if (old != *price) {
      changes_.push_back(name + ": " + kind + " " + usd_text(old.get<double>()) + " → " +
                         usd_text(*price) + " per million tokens");
      old = *price;
    }
  }

  Json& pool_;
  const std::vector<CatalogueModel>& catalogue_;
  const std::string today_;
  std::vector<std::string> changes_;
};

// A server of another kind would make a whole pool unavailable.
void check_in_common(const Pool& pool, const std::vector<CatalogueModel>& catalogue,
                     const Settings& settings) {
  const bool common = std::ranges::any_of(pool, [&](const ModelSpec& model) {
    return std::ranges::find(catalogue, model.openrouter_id, &CatalogueModel::id) !=
           catalogue.end();
  });
  if (!common) {
    throw Error(ErrorCode::kBadData,
                "none of the pool's models is among the " + std::to_string(catalogue.size()) +
                    " that " + settings.base_url +
                    " offers: expected a server whose catalogue uses the pool's \"openrouter_id\"",
                {.file = settings.pool});
  }
}

bool confirmed(const Settings& settings) {
  if (settings.yes) return true;
  if (::isatty(STDIN_FILENO) == 0) {
    print_remark("note", settings.pool + " stays as it is: give --yes to write the changes");
    return false;
  }
  std::cerr << "Write this to " << settings.pool << "? [y/N] ";
  std::string answer;
  std::getline(std::cin, answer);
  return answer == "y" || answer == "Y" || answer == "yes";
}

void sync(const Settings& settings) {
  const Pool pool = read_pool(settings.pool);
  const std::string before = io::read_text(settings.pool, kLargestPool, ErrorCode::kBadConfig);
  Json json = Json::parse(before);  // as read_pool() has checked
  Endpoint endpoint;
  endpoint.base_url = settings.base_url;
  endpoint.ca_file = settings.ca_file;
  const auto catalogue = client::fetch_catalogue(endpoint);
  check_in_common(pool, catalogue, settings);
  const std::vector<std::string> changes = Synchronisation(json, catalogue).run();

  Output output;
  if (changes.empty()) {
    output.write("Nothing has changed: " + settings.pool + " stays as it is.\n");
    output.flush();
    return;
  }
  for (const std::string& change : changes) output.write(change + '\n');
  output.flush();
  if (!confirmed(settings)) return;
  if (io::read_text(settings.pool, kLargestPool, ErrorCode::kBadConfig) != before) {
    throw Error(ErrorCode::kIo, "the file has been changed meanwhile: run the command again",
                {.file = settings.pool});
  }
  // Written where a link leads to, so that the link stays one.
  io::write_file(std::filesystem::canonical(settings.pool), json.dump(2) + '\n');
  output.write("Written to " + settings.pool + ".\n");
  output.flush();
}

}  // namespace

void add_models_command(CLI::App& app, int&) {
  CLI::App* models = app.add_subcommand("models", "Keep a pool file's prices up to date");
  models->require_subcommand(1);
  CLI::App* command = models->add_subcommand(
      "sync", "Bring prices and availability in a pool file up to date from a server's catalogue");
  command->footer(kFooter);
  const auto settings = std::make_shared<Settings>();
  command->add_option("--pool", settings->pool, "Pool file, such as those in config/")
      ->required()
      ->type_name("FILE.json");
  command
      ->add_option("--base", settings->base_url,
                   "Server whose catalogue is asked for (GET URL/models)")
      ->capture_default_str()
      ->type_name("URL");
  command
      ->add_option("--ca-file", settings->ca_file,
                   "Certificate authorities to trust instead of the system's, PEM")
      ->type_name("FILE");
  command->add_flag("--yes", settings->yes, "Write without asking");
  command->callback([settings] { sync(*settings); });
}

}  // namespace r2router::cli
