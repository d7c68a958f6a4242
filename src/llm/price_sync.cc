#include "r2router/llm/price_sync.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "r2router/llm/endpoint.h"
#include "r2router/pool.h"

#include "base/date.h"
#include "base/decimal.h"
#include "base/excerpt.h"
#include "base/file.h"
#include "base/usd.h"
#include "llm/catalogue.h"
#include "pool/capability_names.h"
#include "pool/model_spec.h"

namespace r2router::llm {
namespace {

using Json = nlohmann::ordered_json;  // keeps the order of the models, which is meaningful

// Bytes.
constexpr std::uint64_t kLargestPool = std::uint64_t{16} << 20;
constexpr std::uint64_t kLargestCatalogue = std::uint64_t{64} << 20;

const std::string& source(const PriceSyncOptions& options) {
  return options.from.empty() ? options.base_url : options.from;
}

/// A model that retires so soon is reported.
constexpr std::chrono::days kNotice{30};

/// In Coordinated Universal Time.
std::chrono::sys_days today() {
  return std::chrono::floor<std::chrono::days>(std::chrono::system_clock::now());
}

std::string tokens_text(const std::optional<std::uint32_t>& tokens) {
  return tokens ? std::to_string(*tokens) : "unknown";
}

std::string capabilities_text(const std::optional<Capabilities>& capabilities) {
  if (!capabilities) return "unknown";
  std::string text;
  for (const std::string& name : internal::names_of(*capabilities)) {
    text += (text.empty() ? "" : ", ") + name;
  }
  return text.empty() ? "none" : text;
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

/// A fee of 0 is no fee.
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
                  const PriceSyncOptions& options)
      : json_(json), pool_(pool), catalogue_(catalogue), options_(options), today_(today()) {}

  /// Fills in what the catalogue changes, and what to know of the models.
  void run(PriceSync& sync) {
    for (const ModelSpec& model : pool_) synchronise(model, json_.at("models").at(model.name));
    sync.changes = std::move(changes_);
    sync.large_changes = std::move(large_changes_);
    sync.retiring = std::move(retiring_);
    sync.unlisted = std::move(unlisted_);
    sync.any_unknown = any_unknown_;
  }

 private:
  void synchronise(const ModelSpec& model, Json& json) {
    const std::string& id = model.openrouter_id;
    if (id.empty()) {
      if (model.available) {
        unlisted_.push_back(model.name);
        note(model.name +
             ": no catalogue knows it, since it has no \"openrouter_id\"; its price "
             "stays");
      }
      return;
    }
    const CatalogueModel* found = catalogue_.find(id);
    if (found == nullptr) unlisted_.push_back(model.name);
    if (found == nullptr && !catalogue_.is_offer) {
      report_retirement(model, model.retires);
      note(model.name + ": " + source(options_) + " has no price for " + id + "; the pool's stays");
      return;
    }
    std::string reason;
    if (found == nullptr) {
      reason = "the catalogue has no " + id;
    } else if (!found->expiration_date.empty() &&
               found->expiration_date < internal::date_text(today_)) {
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
      note(model.name +
           " is offered, but unavailable in the pool: set \"available\" to "
           "true there if it may be called");
    }
    if (found->prices) {
      set_prices(model, *found->prices, json);
    } else {
      note(model.name + ": the catalogue has no prices for " + id + "; the pool's stay");
    }
    set_limits(model, *found, json);
    if (found->capabilities && model.capabilities != found->capabilities) {
      changes_.push_back(model.name + ": capabilities " + capabilities_text(model.capabilities) +
                         " → " + capabilities_text(found->capabilities));
      json["capabilities"] = internal::names_of(*found->capabilities);
    }
    const std::string& date = found->expiration_date;
    if (!date.empty() && model.retires != date) {
      changes_.push_back(model.name + ": retires " +
                         (model.retires.empty() ? "unknown" : model.retires) + " → " + date);
      json["retires"] = date;
    }
    report_retirement(model, date.empty() ? model.retires : date);
  }

  void set_limits(const ModelSpec& model, const CatalogueModel& found, Json& json) {
    const auto set = [&](const char* what, const char* field,
                         const std::optional<std::uint32_t>& before,
                         const std::optional<std::uint32_t>& after) {
      if (!after || before == after) return;
      changes_.push_back(model.name + ": " + what + " " + tokens_text(before) + " → " +
                         tokens_text(after) + " tokens");
      json[field] = *after;
    };
    std::optional<std::uint32_t> context = found.context_tokens;
    if (!context && found.max_input_tokens) {
      // The context of query and answer is somewhere between the limit on the query and that limit
      // plus the one on the answer.
      const std::uint64_t least = *found.max_input_tokens;
      const std::uint64_t most = least + found.max_output_tokens.value_or(0);
      const bool agrees =
          model.context_tokens && least <= *model.context_tokens && *model.context_tokens <= most;
      if (!agrees) context = found.max_input_tokens;
    }
    set("context", "context_tokens", model.context_tokens, context);
    set("max output", "max_output_tokens", model.max_output_tokens, found.max_output_tokens);
  }

  /// `date`: the last day on which the model is offered, or empty.
  void report_retirement(const ModelSpec& model, const std::string& date) {
    const auto last = internal::parse_date(date);
    if (!last || !model.available || *last > today_ + kNotice) return;
    retiring_.push_back(model.name);
    const auto days = (*last - today_).count();
    warn(model.name + (days < 0    ? ": its last day was " + date + ", as the pool has it"
                       : days == 0 ? " retires today"
                                   : " retires on " + date + ", in " + std::to_string(days) +
                                         (days == 1 ? " day" : " days")));
  }

  void set_prices(const ModelSpec& model, const CataloguePrices& found, Json& json) {
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
      if (std::ranges::find(options_.ignored, price.component) != options_.ignored.end()) continue;
      prices.unknown.push_back(price);
      unknown += (unknown.empty() ? "" : "; ") + price.component + ": " + excerpt(price.value);
    }
    if (!unknown.empty()) {
      warn(model.name + ": the price is unknown (" + unknown +
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
    if (is_large_change(before, after)) large_changes_.push_back(line);
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

  void note(const std::string& text) const {
    if (options_.log) options_.log(LogLevel::kInfo, text);
  }
  void warn(const std::string& text) const {
    if (options_.log) options_.log(LogLevel::kWarning, text);
  }

  Json& json_;
  const Pool& pool_;
  const Catalogue& catalogue_;
  const PriceSyncOptions& options_;
  const std::chrono::sys_days today_;
  std::vector<std::string> changes_, large_changes_, retiring_, unlisted_;
  bool any_unknown_ = false;
};

Catalogue read_source(const PriceSyncOptions& options) {
  const bool is_url = options.from.starts_with("http://") || options.from.starts_with("https://");
  if (!options.from.empty() && !is_url) {
    return read_catalogue(io::read_text(options.from, kLargestCatalogue, ErrorCode::kBadData));
  }
  Endpoint endpoint;
  endpoint.base_url = source(options);
  endpoint.ca_file = options.ca_file;
  return fetch_catalogue(endpoint, is_url ? options.from : models_url(endpoint));
}

// A catalogue of another kind would make a whole pool unavailable.
void check_in_common(const Pool& pool, const Catalogue& catalogue, const PriceSyncOptions& options,
                     const std::string& pool_file) {
  const bool common = std::ranges::any_of(
      pool, [&](const ModelSpec& model) { return catalogue.find(model.openrouter_id) != nullptr; });
  if (!common) {
    throw Error(ErrorCode::kBadData,
                "none of the pool's models is among the " +
                    std::to_string(catalogue.models.size()) + " of " +
                    source(options).substr(0, source(options).find('?')) +
                    ": expected a catalogue that uses the pool's \"openrouter_id\"",
                {.file = pool_file});
  }
}

}  // namespace

PriceSync compare_prices(const std::string& pool_file, const PriceSyncOptions& options) {
  const Pool pool = read_pool(pool_file);
  PriceSync sync{.before = io::read_text(pool_file, kLargestPool, ErrorCode::kBadConfig)};
  Json json = Json::parse(sync.before);  // as read_pool() has checked
  const Catalogue catalogue = read_source(options);
  check_in_common(pool, catalogue, options, pool_file);
  Synchronisation(json, pool, catalogue, options).run(sync);
  sync.after = sync.changes.empty() ? sync.before : json.dump(2) + '\n';
  return sync;
}

void write_prices(const std::string& pool_file, const PriceSync& sync) {
  if (io::read_text(pool_file, kLargestPool, ErrorCode::kBadConfig) != sync.before) {
    throw Error(ErrorCode::kIo, "the file has been changed meanwhile: run the command again",
                {.file = pool_file});
  }
  // Written where a link leads to, so that the link stays one.
  io::write_file(std::filesystem::canonical(pool_file), sync.after);
}

}  // namespace r2router::llm
