#include "llm/catalogue.h"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <map>
#include <system_error>
#include <utility>

#include <nlohmann/json.hpp>

#include "r2router/error.h"

#include "base/date.h"
#include "base/excerpt.h"
#include "llm/chat/chat_completion.h"
#include "llm/http/endpoint.h"
#include "llm/http/retry.h"
#include "llm/http/transport.h"
#include "pool/model_spec.h"

namespace r2router::llm {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t kMostQuoted = 60;

[[noreturn]] void fail(const std::string& found, const std::string& expected) {
  throw Error(ErrorCode::kBadResponse, "this is not a catalogue of models: found " + found +
                                           ", expected " + expected +
                                           "; check the address or the file");
}

/// The member, or null if it is missing.
const Json& member(const Json& object, const std::string& name) {
  static const Json kNone;
  const auto found = object.find(name);
  return found == object.end() ? kNone : *found;
}

/// A time may follow.
std::string read_date(const Json& date) {
  if (!date.is_string()) return {};
  const std::string day = date.get_ref<const std::string&>().substr(0, 10);
  return internal::parse_date(day) ? day : std::string();
}

/// A positive number of tokens, or empty.
std::optional<std::uint32_t> read_limit(const Json& limit) {
  if (!limit.is_number_unsigned() || limit == 0U || limit > UINT32_MAX) return {};
  return limit.get<std::uint32_t>();
}

bool lists(const Json& names, const char* name) {
  return std::ranges::find(names, name) != names.end();
}

/// Of a list in OpenRouter's format. Empty if it does not say what the model reads and which
/// parameters it takes.
std::optional<Capabilities> read_capabilities(const Json& entry) {
  const Json& architecture = member(entry, "architecture");
  if (!architecture.is_object()) return {};
  const Json& inputs = member(architecture, "input_modalities");
  const Json& parameters = member(entry, "supported_parameters");
  if (!inputs.is_array() || !parameters.is_array()) return {};
  Capabilities capabilities;
  if (lists(parameters, "tools")) capabilities.add(Capability::kTools);
  if (lists(inputs, "image")) capabilities.add(Capability::kImages);
  if (lists(inputs, "audio")) capabilities.add(Capability::kAudio);
  if (lists(parameters, "structured_outputs")) capabilities.add(Capability::kJsonSchema);
  if (lists(parameters, "reasoning")) capabilities.add(Capability::kReasoning);
  return capabilities;
}

/// Of a table of prices, where a flag that is missing means no. Empty if there is no flag.
std::optional<Capabilities> read_flags(const Json& entry) {
  constexpr std::pair<const char*, Capability> kFlags[] = {
      {"supports_function_calling", Capability::kTools},
      {"supports_vision", Capability::kImages},
      {"supports_audio_input", Capability::kAudio},
      {"supports_response_schema", Capability::kJsonSchema},
      {"supports_reasoning", Capability::kReasoning}};
  std::optional<Capabilities> capabilities;
  for (const auto& [flag, capability] : kFlags) {
    const Json& value = member(entry, flag);
    if (!value.is_boolean()) continue;
    if (!capabilities) capabilities.emplace();
    if (value.get<bool>()) capabilities->add(capability);
  }
  return capabilities;
}

std::string spelling(const Json& value) {
  const std::string text = value.is_string()
                               ? value.get<std::string>()
                               : value.dump(-1, ' ', false, Json::error_handler_t::replace);
  return text.size() <= kMostQuoted ? text : excerpt(text, kMostQuoted);
}

/// An amount in USD as decimal digits, optionally after "$", times a power of ten. Shifts the
/// digits themselves: multiplying the nearest double by 1e6 would turn "0.00000005" into
/// 0.049999999999999996.
std::optional<double> parse_usd(std::string_view text, int places) {
  constexpr std::string_view kSpace = " \t\r\n";
  const std::size_t first = text.find_first_not_of(kSpace);
  if (first == text.npos) return {};
  text = text.substr(first, text.find_last_not_of(kSpace) + 1 - first);
  if (text.starts_with('$')) text.remove_prefix(1);
  const std::size_t mark = std::min(text.find_first_of("eE"), text.size());
  int exponent = 0;
  if (mark < text.size()) {
    std::string_view digits = text.substr(mark + 1);
    if (digits.starts_with('+')) digits.remove_prefix(1);
    const auto [end, error] = std::from_chars(digits.begin(), digits.end(), exponent);
    if (error != std::errc() || end != digits.end() || exponent < -400 || exponent > 400) return {};
  }
  const std::string moved =
      std::string(text.substr(0, mark)) + "e" + std::to_string(exponent + places);
  double price = 0;
  const char* const last = moved.data() + moved.size();
  const auto [end, error] = std::from_chars(moved.data(), last, price);
  if (error != std::errc() || end != last || !(price >= 0 && price <= io::kHighestPrice)) return {};
  return price + 0.0;  // turns -0 into 0
}

/// Prices are strings or numbers.
std::optional<double> read_usd(const Json& price, int places) {
  if (price.is_number()) return parse_usd(price.dump(), places);
  return price.is_string() ? parse_usd(price.get_ref<const std::string&>(), places) : std::nullopt;
}

/// True if nothing is charged: zero, empty, or a structure of such values.
bool is_nothing(const Json& price) {
  if (price.is_structured()) return std::ranges::all_of(price, is_nothing);
  return price.is_null() || price == "" || price == false || read_usd(price, 0) == 0.0;
}

using Component = std::optional<double> PriceTier::*;

/// A source's name for a component, and the power of ten that converts its amounts to those of
/// Prices.
struct Name {
  Component component;
  int places;
};

constexpr int kPerToken = 6, kSame = 0;

// https://openrouter.ai/docs: USD per token, request or image.
const std::map<std::string, Name, std::less<>> kOpenRouter = {
    {"prompt", {&PriceTier::input, kPerToken}},
    {"completion", {&PriceTier::output, kPerToken}},
    {"input_cache_read", {&PriceTier::cached_input, kPerToken}},
    {"input_cache_write", {&PriceTier::cache_write, kPerToken}},
    {"internal_reasoning", {&PriceTier::reasoning, kPerToken}},
    {"request", {&PriceTier::per_request, kSame}},
    {"image", {&PriceTier::per_image, kSame}}};

// Together: USD per million tokens.
const std::map<std::string, Name, std::less<>> kTogether = {
    {"input", {&PriceTier::input, kSame}},
    {"output", {&PriceTier::output, kSame}},
    {"cached_input", {&PriceTier::cached_input, kSame}}};

// model_prices_and_context_window.json.
const std::map<std::string, Name, std::less<>> kPriceTable = {
    {"input_cost_per_token", {&PriceTier::input, kPerToken}},
    {"output_cost_per_token", {&PriceTier::output, kPerToken}},
    {"cache_read_input_token_cost", {&PriceTier::cached_input, kPerToken}},
    {"input_cost_per_token_cache_hit", {&PriceTier::cached_input, kPerToken}},
    {"cache_creation_input_token_cost", {&PriceTier::cache_write, kPerToken}},
    {"output_cost_per_reasoning_token", {&PriceTier::reasoning, kPerToken}},
    {"input_cost_per_request", {&PriceTier::per_request, kSame}},
    {"input_cost_per_image", {&PriceTier::per_image, kSame}}};

/// Collects a model's prices from any of the formats.
class PriceReader {
 public:
  /// Adds a component. `above`: bound of the tier; 0: base prices.
  void add(const Name& name, std::uint32_t above, const std::string& spelt, const Json& value) {
    if (value.is_null()) return;
    const std::optional<double> usd = read_usd(value, name.places);
    if (!usd) return add_unknown(spelt, value);
    // Catalogues write 0 if there is no separate price.
    const bool own = name.component != &PriceTier::cached_input &&
                     name.component != &PriceTier::cache_write &&
                     name.component != &PriceTier::reasoning;
    if (*usd == 0 && !own) return;
    // If a component is given twice, use the higher price.
    std::optional<double>& price = tier(above).*name.component;
    price = std::max(*usd, price.value_or(0));
  }

  void add_unknown(const std::string& spelt, const Json& value) {
    prices_.unknown.push_back({spelt, spelling(value)});
  }

  CataloguePrices finish(const char* input_name, const char* output_name) && {
    for (auto& [above, tier] : tiers_) {
      if (above == 0) {
        prices_.base = tier;
      } else {
        prices_.tiers.push_back(tier);
      }
    }
    require(&PriceTier::input, input_name);
    require(&PriceTier::output, output_name);
    fill_gaps();
    return std::move(prices_);
  }

 private:
  PriceTier& tier(std::uint32_t above) {
    PriceTier& tier = tiers_[above];
    tier.above_input_tokens = above;
    return tier;
  }

  void require(Component component, const char* name) {
    if (prices_.base.*component ||
        std::ranges::find(prices_.unknown, name, &UnknownPrice::component) !=
            prices_.unknown.end()) {
      return;
    }
    prices_.unknown.push_back({name, "not given"});
  }

  /// If a tier does not repeat a component that the tier before changed, the source may mean that
  /// price or the base price. Use the higher one.
  void fill_gaps() {
    for (std::size_t i = 1; i < prices_.tiers.size(); ++i) {
      PriceTier &before = prices_.tiers[i - 1], &tier = prices_.tiers[i];
      for (const Component component :
           {&PriceTier::input, &PriceTier::cached_input, &PriceTier::cache_write,
            &PriceTier::output, &PriceTier::reasoning, &PriceTier::per_request,
            &PriceTier::per_image}) {
        if (tier.*component || !(before.*component)) continue;
        tier.*component = std::max(*(before.*component), (prices_.base.*component).value_or(0));
      }
    }
  }

  CataloguePrices prices_;
  std::map<std::uint32_t, PriceTier> tiers_;
};

/// A number of tokens, or empty.
std::optional<std::uint32_t> read_bound(const Json& bound) {
  if (!bound.is_number()) return {};
  const double tokens = bound.get<double>();
  if (!(tokens >= 0 && tokens < UINT32_MAX)) return {};
  return static_cast<std::uint32_t>(tokens);
}

/// An object of prices in OpenRouter's format. The members of a tier include its bounds.
void read_openrouter_tier(const Json& pricing, bool is_override, PriceReader& reader) {
  // "From 128,000 tokens on" is "above 127,999".
  std::uint32_t above = 0;
  bool bounded = false;
  for (const char* name : {"min_prompt_tokens", "min_context"}) {
    if (const auto least = read_bound(member(pricing, name))) {
      above = std::max(above, *least == 0 ? 0 : *least - 1);
      bounded = true;
    }
  }
  if (is_override && !bounded) return reader.add_unknown("overrides", pricing);
  for (const auto& [key, value] : pricing.items()) {
    if (key == "min_prompt_tokens" || key == "min_context") continue;
    if (key == "discount") continue;  // it only lowers a bill
    if (key == "overrides" && value.is_array() && !is_override) {
      for (const Json& tier : value) {
        if (tier.is_object()) {
          read_openrouter_tier(tier, true, reader);
        } else if (!is_nothing(tier)) {
          reader.add_unknown(key, tier);
        }
      }
    } else if (const auto name = kOpenRouter.find(key); name != kOpenRouter.end()) {
      reader.add(name->second, above, key, value);
    } else if (!is_nothing(value)) {
      reader.add_unknown(key, value);
    }
  }
}

CataloguePrices read_openrouter(const Json& pricing) {
  PriceReader reader;
  if (pricing.is_array()) {
    for (const Json& tier : pricing) {
      if (tier.is_object()) {
        read_openrouter_tier(tier, false, reader);
      } else {
        reader.add_unknown("pricing", tier);
      }
    }
  } else {
    read_openrouter_tier(pricing, false, reader);
  }
  return std::move(reader).finish("prompt", "completion");
}

CataloguePrices read_together(const Json& pricing) {
  PriceReader reader;
  for (const auto& [key, value] : pricing.items()) {
    if (const auto name = kTogether.find(key); name != kTogether.end()) {
      reader.add(name->second, 0, key, value);
    } else if (key != "finetune" && !is_nothing(value)) {  // training is not routed
      reader.add_unknown(key, value);
    }
  }
  return std::move(reader).finish("input", "output");
}

/// Removes a suffix such as "_above_200k_tokens" from a component's name. Returns the tokens, or
/// empty.
std::optional<std::uint32_t> take_bound(std::string& name) {
  constexpr std::string_view kAbove = "_above_", kTokens = "_tokens";
  const std::size_t at = name.rfind(kAbove);
  if (at == name.npos || !name.ends_with(kTokens)) return {};
  std::string_view digits(name);
  digits = digits.substr(at + kAbove.size());
  digits.remove_suffix(kTokens.size());
  const bool thousands = digits.ends_with('k');
  if (thousands) digits.remove_suffix(1);
  std::uint32_t tokens = 0;
  const auto [end, error] = std::from_chars(digits.begin(), digits.end(), tokens);
  if (error != std::errc() || end != digits.end() || tokens == 0) return {};
  if (thousands && tokens > UINT32_MAX / 1000) return {};
  name.resize(at);
  return thousands ? tokens * 1000 : tokens;
}

/// Charged only on request, which r2router never makes: other service tiers and longer caches.
/// Prices in other units repeat the ones in USD.
bool is_on_request(std::string_view name) {
  for (const char* part : {"_batches", "_priority", "_flex", "_balanced", "_ultrafast",
                           "_decisions", "_above_1hr", "_above_12hr", "_dbu_", "explicit_cache_"}) {
    if (name.find(part) != name.npos || name.starts_with(part)) return true;
  }
  return false;
}

bool is_cost(std::string_view name) {
  for (const char* part : {"cost", "price", "tiered_pricing", "_fee"}) {
    if (name.find(part) != name.npos) return true;
  }
  return false;
}

/// Adds the components among an entry's members. `above`: bound of their tier.
void read_price_table_members(const Json& entry, std::uint32_t above, PriceReader& reader) {
  for (const auto& [key, value] : entry.items()) {
    if (key == "tiered_pricing" && value.is_array()) {
      for (const Json& tier : value) {
        const Json& range = tier.is_object() ? member(tier, "range") : tier;
        const auto least =
            range.is_array() && !range.empty() ? read_bound(range.front()) : std::nullopt;
        if (least) {
          read_price_table_members(tier, *least, reader);
        } else {
          reader.add_unknown(key, tier);
        }
      }
      continue;
    }
    if (!is_cost(key) || is_on_request(key)) continue;
    std::string base = key;
    const std::uint32_t bound = take_bound(base).value_or(above);
    if (const auto name = kPriceTable.find(base); name != kPriceTable.end()) {
      reader.add(name->second, bound, key, value);
    } else if (!is_nothing(value) && !(value.is_string() && !read_usd(value, 0))) {
      reader.add_unknown(key, value);
    }
  }
}

std::optional<CataloguePrices> read_price_table_entry(const Json& entry) {
  const auto has_cost = [](const auto& item) { return is_cost(item.key()); };
  if (std::ranges::none_of(entry.items(), has_cost)) return {};
  PriceReader reader;
  read_price_table_members(entry, 0, reader);
  return std::move(reader).finish("input_cost_per_token", "output_cost_per_token");
}

std::optional<CataloguePrices> read_prices(const Json& entry) {
  const Json& pricing = member(entry, "pricing");
  if (pricing.is_null()) return read_price_table_entry(entry);
  if (pricing.is_object()) {
    const auto has = [&](const char* name) { return pricing.contains(name); };
    if (!has("prompt") && !has("completion") && (has("input") || has("output"))) {
      return read_together(pricing);
    }
    return read_openrouter(pricing);
  }
  if (pricing.is_array()) return read_openrouter(pricing);
  CataloguePrices prices;
  prices.unknown = {{"pricing", spelling(pricing)}};
  return prices;
}

CatalogueModel read_model(const Json& entry, const std::string& place) {
  if (!entry.is_object()) fail(entry.type_name() + (" at " + place), "an object for each model");
  const Json& id = member(entry, "id");
  if (!id.is_string() || id.get_ref<const std::string&>().empty()) {
    fail("no name at " + place + "/id", "each model's name");
  }
  CatalogueModel model{.id = id};
  model.prices = read_prices(entry);
  model.context_tokens = read_limit(member(entry, "context_length"));
  if (const Json& provider = member(entry, "top_provider"); provider.is_object()) {
    model.max_output_tokens = read_limit(member(provider, "max_completion_tokens"));
  }
  model.capabilities = read_capabilities(entry);
  model.expiration_date = read_date(member(entry, "expiration_date"));
  return model;
}

bool operator==(const CataloguePrices& a, const CataloguePrices& b) {
  return a.base == b.base && a.tiers == b.tiers && a.unknown == b.unknown;
}

/// Adds a model. If it already exists at another price, its price is unreliable.
void add_model(CatalogueModel model, std::map<std::string, std::size_t, std::less<>>& places,
               Catalogue& catalogue) {
  const auto [place, is_new] = places.try_emplace(model.id, catalogue.models.size());
  if (is_new) return catalogue.models.push_back(std::move(model));
  CatalogueModel& first = catalogue.models[place->second];
  const bool same = first.prices.has_value() == model.prices.has_value() &&
                    (!first.prices || *first.prices == *model.prices);
  if (!same) {
    if (!first.prices) first.prices.emplace();
    first.prices->unknown.push_back({"id", "listed more than once, at different prices"});
  }
}

Catalogue read_list(const Json& list, const std::string& place) {
  Catalogue catalogue;
  std::map<std::string, std::size_t, std::less<>> places;
  for (std::size_t i = 0; i < list.size(); ++i) {
    add_model(read_model(list[i], place + "/" + std::to_string(i)), places, catalogue);
  }
  return catalogue;
}

bool is_price_table(const Json& json) {
  return json.is_object() && std::ranges::any_of(json, [](const Json& entry) {
           if (!entry.is_object()) return false;
           for (const char* name : {"litellm_provider", "tiered_pricing"}) {
             if (entry.contains(name)) return true;
           }
           return std::ranges::any_of(
               kPriceTable, [&](const auto& component) { return entry.contains(component.first); });
         });
}

Catalogue read_price_table(const Json& json) {
  Catalogue catalogue{.models = {}, .is_offer = false};
  for (const auto& [id, entry] : json.items()) {
    if (!entry.is_object() || id.empty()) continue;
    catalogue.models.push_back({.id = id,
                                .prices = read_price_table_entry(entry),
                                .max_input_tokens = read_limit(member(entry, "max_input_tokens")),
                                .max_output_tokens = read_limit(member(entry, "max_output_tokens")),
                                .capabilities = read_flags(entry),
                                .expiration_date = read_date(member(entry, "deprecation_date"))});
  }
  return catalogue;
}

}  // namespace

std::optional<double> usd_per_million(std::string_view usd_per_token) {
  return parse_usd(usd_per_token, kPerToken);
}

const CatalogueModel* Catalogue::find(std::string_view id) const {
  const auto exact = [&](std::string_view name) -> const CatalogueModel* {
    const auto found = std::ranges::find(models, name, &CatalogueModel::id);
    return found == models.end() ? nullptr : &*found;
  };
  if (const CatalogueModel* model = exact(id); model != nullptr || is_offer) return model;
  if (const CatalogueModel* model = exact("openrouter/" + std::string(id))) return model;
  const std::size_t slash = id.find('/');
  return slash == id.npos ? nullptr : exact(id.substr(slash + 1));
}

Catalogue read_catalogue(std::string_view body) {
  const Json json = Json::parse(body, nullptr, false);
  if (json.is_discarded()) fail("something that is not JSON", "a JSON list or object");
  if (json.is_array()) return read_list(json, "");
  if (json.is_object() && member(json, "data").is_array()) return read_list(json["data"], "/data");
  if (is_price_table(json)) return read_price_table(json);
  fail("no list of models",
       "a list, an object with a list \"data\", or one with a member for each model with its "
       "\"input_cost_per_token\"");
}

std::string models_url(const Endpoint& endpoint) {
  return BaseUrl(endpoint.base_url).with("/models");
}

Catalogue fetch_catalogue(const Endpoint& endpoint, const std::string& url) {
  const auto transport = make_transport(endpoint);
  Request request{.method = "GET", .url = url};
  request.deadline = Clock::now() + std::chrono::duration_cast<Clock::duration>(
                                        std::chrono::duration<double>(endpoint.timeouts.total));
  Response response;
  // Reading a catalogue is free.
  with_retries(endpoint.retry, request.deadline, {}, UINT32_MAX, [&] {
    response = transport->send(request);
    return judge(endpoint.retry, response);
  });
  if (!response.failure && response.status == 200) return read_catalogue(response.body);
  const Failure failure = response.failure
                              ? *response.failure
                              : read_chat_error(response.status, response.body, endpoint.api_key);
  throw Error(failure.code, failure.message);
}

}  // namespace r2router::llm
