// r2-router models: pool files and what a server's catalogue says of their models.
#include <algorithm>
#include <ctime>
#include <filesystem>
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include "r2router/outcomes.h"

#include "base/excerpt.h"
#include "base/file.h"
#include "base/usd.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "llm/catalogue.h"
#include "pool/model_spec.h"

namespace r2router::cli {
namespace {

using llm::Catalogue;
using llm::CatalogueModel;
using Json = nlohmann::ordered_json;  // keeps the order of the models, which is meaningful

// Bytes.
constexpr std::uint64_t kLargestPool = std::uint64_t{16} << 20;
constexpr std::uint64_t kLargestCatalogue = std::uint64_t{64} << 20;

constexpr const char* kFooter = R"(Examples:
  r2-router models sync --pool pool.json                       # shows the changes, then asks
  r2-router models sync --pool pool.json --yes
  r2-router models sync --pool pool.json --from model_prices_and_context_window.json
  r2-router route --pool pool.json --query "Who wrote Faust?"  # uses the pool's prices

A model is looked up by its "openrouter_id". One that the server's list lacks, or whose last day has
passed, becomes unavailable; nothing is made available, since a model may be kept out for other
reasons. All components of a price are taken over: input, output, caches, reasoning, fees for a
request or an image, and tiers by input length. A component that cannot be computed makes the price
unknown: it is reported and written to "unknown_prices", and the model is not chosen under
--max-cost. Everything else in the file stays, in its order, with an indentation of two spaces.)";

struct Settings {
  std::string pool, base_url = "https://openrouter.ai/api/v1", from, ca_file;
  std::vector<std::string> ignored;
  bool yes = false;

  /// Where the catalogue is.
  const std::string& source() const { return from.empty() ? base_url : from; }
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

/// How a component is called in what is printed.
std::string label(std::string_view field) {
  std::string text(field);
  const bool per_million = text.ends_with("_price_per_million");
  if (per_million) text.resize(text.size() - std::string_view("_price_per_million").size());
  if (text.starts_with("price_")) text.erase(0, std::string_view("price_").size());
  std::ranges::replace(text, '_', ' ');
  return text;
}

const char* unit(std::string_view field) {
  return field.ends_with("_per_million") ? " per million tokens" : "";
}

/// A price as far as it is there.
std::string amount(const std::optional<double>& price) { return price ? usd_text(*price) : "none"; }

/// A fee of 0 is none.
std::optional<double> stated(std::string_view field, const std::optional<double>& price) {
  return price == 0.0 && !field.ends_with("_per_million") ? std::nullopt : price;
}

/// Whether one price is more than ten times the other.
bool is_large_change(const std::optional<double>& before, const std::optional<double>& after) {
  const auto [least, most] = std::minmax({before.value_or(0), after.value_or(0)});
  return before && after && most > 10 * least;
}

/// Compares a pool with a catalogue and brings it up to date.
class Synchronisation {
 public:
  Synchronisation(Json& json, const Pool& pool, const Catalogue& catalogue,
                  const Settings& settings)
      : json_(json), pool_(pool), catalogue_(catalogue), settings_(settings), today_(today()) {}

  /// What changes, a line each.
  std::vector<std::string> run() {
    for (const ModelSpec& model : pool_) synchronise(model, json_.at("models").at(model.name));
    if (any_unknown_) {
      print_remark("note",
                   "leave out components that your calls are never charged for with --ignore, "
                   "such as --ignore web_search");
    }
    return std::move(changes_);
  }

 private:
  void synchronise(const ModelSpec& model, Json& json) {
    const std::string& id = model.openrouter_id;
    if (id.empty()) return;  // no catalogue has it
    const CatalogueModel* found = catalogue_.find(id);
    if (found == nullptr && !catalogue_.is_offer) {
      print_remark("note", model.name + ": " + settings_.source() + " has no price for " + id +
                               "; the pool's stays");
      return;
    }
    std::string reason;
    if (found == nullptr) {
      reason = "the catalogue has no " + id;
    } else if (!found->expiration_date.empty() && found->expiration_date < today_) {
      reason = "its last day was " + found->expiration_date;
    }
    if (!reason.empty()) {
      if (model.available) {
        json["available"] = false;
        changes_.push_back(model.name + ": available → unavailable (" + reason + ")");
      }
      return;
    }
    if (!model.available && catalogue_.is_offer) {
      print_remark("note", model.name +
                               " is offered, but unavailable in the pool: set \"available\" to "
                               "true there if it may be called");
    }
    if (found->prices) {
      set_prices(model, *found->prices, json);
    } else {
      print_remark("note",
                   model.name + ": the catalogue has no prices for " + id + "; the pool's stay");
    }
    if (found->context_tokens && model.context_tokens != found->context_tokens) {
      changes_.push_back(
          model.name + ": context " +
          (model.context_tokens ? std::to_string(*model.context_tokens) : "unknown") + " → " +
          std::to_string(*found->context_tokens) + " tokens");
      json["context_tokens"] = *found->context_tokens;
    }
  }

  void set_prices(const ModelSpec& model, const llm::CataloguePrices& found, Json& json) {
    Prices prices;
    const PriceTier& base = found.base;
    // Where there is no fixed price, the pool's number remains what a call is expected to cost.
    prices.input = base.input.value_or(model.prices.input);
    prices.output = base.output.value_or(model.prices.output);
    prices.cached_input = base.cached_input;
    prices.cache_write = base.cache_write;
    prices.reasoning = base.reasoning;
    prices.per_request = base.per_request.value_or(0);
    prices.per_image = base.per_image.value_or(0);
    prices.tiers = found.tiers;
    std::string unknown;
    for (const UnknownPrice& price : found.unknown) {
      if (std::ranges::find(settings_.ignored, price.component) != settings_.ignored.end())
        continue;
      prices.unknown.push_back(price);
      unknown += (unknown.empty() ? "" : "; ") + price.component + ": " + excerpt(price.value);
    }
    if (!unknown.empty()) {
      print_remark("warning", model.name + ": the price is unknown (" + unknown +
                                  "): the model is not chosen under a cost limit");
      any_unknown_ = true;
    }
    if (prices == model.prices) return;
    note_components(model.name, model.prices, prices);
    note_tiers(model.name, model.prices.tiers, prices.tiers);
    note_unknown(model.name, model.prices.unknown, prices.unknown);
    write(prices, json);
  }

  /// Puts the prices where they were, and new ones at the end.
  static void write(const Prices& prices, Json& json) {
    Json fields = Json::object();
    io::add_prices(prices, fields);
    const auto put = [&](const char* name) {
      if (fields.contains(name)) {
        // A number that has not changed keeps its spelling.
        if (!json.contains(name) || json[name] != fields[name]) json[name] = fields[name];
      } else {
        json.erase(name);
      }
    };
    io::for_each_price(prices, [&](const char* name, const auto&) { put(name); });
    put("price_tiers");
    put("unknown_prices");
  }

  void note_change(const std::string& what, std::string_view field,
                   const std::optional<double>& before, const std::optional<double>& after) {
    if (before == after) return;
    std::string line =
        what + label(field) + " " + amount(before) + " → " + amount(after) + unit(field);
    if (is_large_change(before, after)) {
      line += "  (more than tenfold: check that the source and the pool mean the same)";
    }
    changes_.push_back(std::move(line));
  }

  template <typename Components>
  void note_components(const std::string& what, const Components& before, const Components& after) {
    std::vector<std::optional<double>> old;
    io::for_each_price(before, [&](const char* field, const std::optional<double>& price) {
      old.push_back(stated(field, price));
    });
    auto was = old.begin();
    io::for_each_price(after, [&](const char* field, const std::optional<double>& price) {
      note_change(what + ": ", field, *was++, stated(field, price));
    });
  }

  void note_tiers(const std::string& name, const std::vector<PriceTier>& before,
                  const std::vector<PriceTier>& after) {
    const auto place = [&](const PriceTier& tier) {
      return name + ", above " + with_thousands(tier.above_input_tokens) + " input tokens";
    };
    const auto find = [](const std::vector<PriceTier>& tiers, const PriceTier& tier) {
      return std::ranges::find(tiers, tier.above_input_tokens, &PriceTier::above_input_tokens);
    };
    for (const PriceTier& tier : before) {
      if (find(after, tier) == after.end()) note_components(place(tier), tier, PriceTier());
    }
    for (const PriceTier& tier : after) {
      const auto old = find(before, tier);
      note_components(place(tier), old == before.end() ? PriceTier() : *old, tier);
    }
  }

  void note_unknown(const std::string& name, const std::vector<UnknownPrice>& before,
                    const std::vector<UnknownPrice>& after) {
    for (const UnknownPrice& price : before) {
      if (std::ranges::find(after, price) == after.end()) {
        changes_.push_back(name + ": " + price.component + " is no longer unknown (was " +
                           excerpt(price.value) + ")");
      }
    }
    for (const UnknownPrice& price : after) {
      if (std::ranges::find(before, price) == before.end()) {
        changes_.push_back(name + ": " + price.component + " becomes unknown (found " +
                           excerpt(price.value) + ")");
      }
    }
  }

  Json& json_;
  const Pool& pool_;
  const Catalogue& catalogue_;
  const Settings& settings_;
  const std::string today_;
  std::vector<std::string> changes_;
  bool any_unknown_ = false;
};

Catalogue read_source(const Settings& settings) {
  const bool is_url = settings.from.starts_with("http://") || settings.from.starts_with("https://");
  if (!settings.from.empty() && !is_url) {
    return llm::read_catalogue(
        io::read_text(settings.from, kLargestCatalogue, ErrorCode::kBadData));
  }
  llm::Endpoint endpoint;
  endpoint.base_url = settings.source();
  endpoint.ca_file = settings.ca_file;
  return llm::fetch_catalogue(endpoint, is_url ? settings.from : llm::models_url(endpoint));
}

// A catalogue of another kind would make a whole pool unavailable.
void check_in_common(const Pool& pool, const Catalogue& catalogue, const Settings& settings) {
  const bool common = std::ranges::any_of(
      pool, [&](const ModelSpec& model) { return catalogue.find(model.openrouter_id) != nullptr; });
  if (!common) {
    throw Error(ErrorCode::kBadData,
                "none of the pool's models is among the " +
                    std::to_string(catalogue.models.size()) + " of " +
                    settings.source().substr(0, settings.source().find('?')) +
                    ": expected a catalogue that uses the pool's \"openrouter_id\"",
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
  const Catalogue catalogue = read_source(settings);
  check_in_common(pool, catalogue, settings);
  const std::vector<std::string> changes = Synchronisation(json, pool, catalogue, settings).run();

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
  models->footer(R"(Examples:
  r2-router models sync --pool pool.json
  r2-router help models sync)");
  models->require_subcommand(0, 1);
  models->callback([models] {
    if (models->get_subcommands().empty()) {
      throw CLI::ValidationError("no command given after models: expected sync");
    }
  });
  CLI::App* command = models->add_subcommand(
      "sync", "Bring prices and availability in a pool file up to date from a catalogue");
  command->footer(kFooter);
  const auto settings = std::make_shared<Settings>();
  command->add_option("--pool", settings->pool, "Pool file, such as those in config/")
      ->required()
      ->type_name("FILE.json");
  CLI::Option* base =
      command
          ->add_option("--base", settings->base_url,
                       "Server whose list of models is the catalogue (GET URL/models)")
          ->capture_default_str()
          ->type_name("URL");
  command
      ->add_option("--from", settings->from,
                   "Catalogue to read instead: a list of models, or prices in the form of "
                   "model_prices_and_context_window.json")
      ->excludes(base)
      ->type_name("FILE|URL");
  command
      ->add_option("--ignore", settings->ignored,
                   "Components of prices that your calls are never charged for, such as web_search")
      ->delimiter(',')
      ->type_name("NAME[,NAME]");
  command
      ->add_option("--ca-file", settings->ca_file,
                   "Certificate authorities to trust instead of the system's, PEM")
      ->type_name("FILE");
  command->add_flag("--yes", settings->yes, "Write without asking");
  command->callback([settings] { sync(*settings); });
}

}  // namespace r2router::cli
