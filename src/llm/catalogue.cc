#include "llm/catalogue.h"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <system_error>

#include <nlohmann/json.hpp>

#include "r2router/error.h"

#include "llm/chat/chat_completion.h"
#include "llm/http/retry.h"
#include "llm/http/transport.h"

namespace r2router::client {
namespace {

using Json = nlohmann::json;

// As in pool files, which prices go to.
constexpr double kHighestPrice = 1e9;

[[noreturn]] void fail(const std::string& found, const std::string& expected) {
  throw Error(ErrorCode::kBadResponse, "the server's catalogue is not one: found " + found +
                                           ", expected " + expected +
                                           "; check the address that was given for the server");
}

/// The member, or null where there is none.
const Json& member(const Json& object, const char* name) {
  static const Json kNone;
  const auto found = object.find(name);
  return found == object.end() ? kNone : *found;
}

/// Prices are strings; of a number, too, the digits count.
std::optional<double> read_price(const Json& pricing, const char* name) {
  const Json& price = member(pricing, name);
  if (price.is_number()) return usd_per_million(price.dump());
  return price.is_string() ? usd_per_million(price.get_ref<const std::string&>()) : std::nullopt;
}

bool is_date(std::string_view text) {
  constexpr std::string_view kShape = "dddd-dd-dd";
  if (text.size() < kShape.size()) return false;
  for (std::size_t i = 0; i < kShape.size(); ++i) {
    const bool digit = text[i] >= '0' && text[i] <= '9';
    if (kShape[i] == 'd' ? !digit : text[i] != kShape[i]) return false;
  }
  return true;
}

CatalogueModel read_model(const Json& entry, std::size_t index) {
  const std::string place = "/data/" + std::to_string(index);
  if (!entry.is_object()) fail(entry.type_name() + (" at " + place), "an object for each model");
  const Json& id = member(entry, "id");
  if (!id.is_string() || id.get_ref<const std::string&>().empty()) {
    fail("no name at " + place + "/id", "each model's name");
  }
  CatalogueModel model{.id = id};
  const Json& pricing = member(entry, "pricing");
  model.input_price_per_million = read_price(pricing, "prompt");
  model.output_price_per_million = read_price(pricing, "completion");
  if (const Json& context = member(entry, "context_length");
      context.is_number_unsigned() && context > 0U && context <= UINT32_MAX) {
    model.context_tokens = context.get<std::uint32_t>();
  }
  // A time of day may follow.
  if (const Json& date = member(entry, "expiration_date");
      date.is_string() && is_date(date.get_ref<const std::string&>())) {
    model.expiration_date = date.get_ref<const std::string&>().substr(0, 10);
  }
  return model;
}

}  // namespace

// The digits themselves are moved by six places: the product of the nearest double and 1e6 would
// make 0.049999999999999996 of "0.00000005".
std::optional<double> usd_per_million(std::string_view usd_per_token) {
  const std::size_t mark = std::min(usd_per_token.find_first_of("eE"), usd_per_token.size());
  int exponent = 0;
  if (mark < usd_per_token.size()) {
    std::string_view digits = usd_per_token.substr(mark + 1);
    if (digits.starts_with('+')) digits.remove_prefix(1);
    const auto [end, error] = std::from_chars(digits.begin(), digits.end(), exponent);
    if (error != std::errc() || end != digits.end() || exponent < -400 || exponent > 400) return {};
  }
  const std::string moved =
      std::string(usd_per_token.substr(0, mark)) + "e" + std::to_string(exponent + 6);
  double price = 0;
  const char* const last = moved.data() + moved.size();
  const auto [end, error] = std::from_chars(moved.data(), last, price);
  if (error != std::errc() || end != last || !(price >= 0 && price <= kHighestPrice)) return {};
  return price + 0.0;  // of "-0", too, plain 0
}

std::vector<CatalogueModel> read_catalogue(std::string_view body) {
  const Json catalogue = Json::parse(body, nullptr, false);
  if (catalogue.is_discarded()) fail("something that is not JSON", "a JSON object");
  const Json& data = member(catalogue, "data");
  if (!data.is_array()) fail("no array \"data\"", "one, with an object for each model");
  std::vector<CatalogueModel> models;
  for (const Json& entry : data) models.push_back(read_model(entry, models.size()));
  return models;
}

std::vector<CatalogueModel> fetch_catalogue(const Endpoint& endpoint) {
  const auto transport = net::make_transport(endpoint);
  net::Request request{.method = "GET", .url = endpoint.base_url};
  while (request.url.ends_with('/')) request.url.pop_back();
  request.url += "/models";
  request.deadline =
      net::Clock::now() + std::chrono::duration_cast<net::Clock::duration>(
                              std::chrono::duration<double>(endpoint.timeouts.total));
  net::Response response;
  // To look at a catalogue costs nothing.
  net::with_retries(endpoint.retry, request.deadline, {}, UINT32_MAX, [&] {
    response = transport->send(request);
    return net::judge(endpoint.retry, response);
  });
  if (!response.failure && response.status == 200) return read_catalogue(response.body);
  const Failure failure = response.failure
                              ? *response.failure
                              : read_chat_error(response.status, response.body, endpoint.api_key);
  throw Error(failure.code, failure.message);
}

}  // namespace r2router::client
