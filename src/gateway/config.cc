#include "gateway/config.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <set>
#include <utility>

#include <arpa/inet.h>

#include "r2router/error.h"
#include "r2router/router.h"

#include "base/excerpt.h"
#include "base/file.h"
#include "base/json.h"
#include "base/json_names.h"
#include "base/suggestion.h"
#include "base/unicode.h"

namespace r2router::gateway {
namespace {

using io::JsonDocument;
using io::JsonView;
namespace fs = std::filesystem;

constexpr std::uint64_t kMaxConfigBytes = std::uint64_t{16} << 20;
constexpr std::uint64_t kMaxSecretBytes = std::uint64_t{64} << 10;
constexpr double kMostSeconds = 1e6;

constexpr std::pair<std::string_view, llm::CapField> kCapFields[] = {
    {"automatic", llm::CapField::kAutomatic},
    {"max_tokens", llm::CapField::kMaxTokens},
    {"max_completion_tokens", llm::CapField::kMaxCompletionTokens}};

/// The members that an object may have. Others are errors: a limit that is ignored because its name
/// is misspelt would be dangerous.
using Fields = std::vector<std::pair<std::string_view, std::function<void(const JsonView&)>>>;

void read_fields(const JsonView& object, const Fields& fields) {
  for (const auto& [name, value] : object.members()) {
    const auto field = std::ranges::find(fields, name, &Fields::value_type::first);
    if (field != fields.end()) {
      field->second(value);
      continue;
    }
    std::vector<std::string> known;
    for (const auto& [one, read] : fields) known.emplace_back(one);
    const auto meant = internal::likely_name(name, known);
    value.fail_with(
        "there is no such setting; " +
        (meant ? "did you mean \"" + *meant + "\"?" : "expected " + internal::list_of(known, 30)));
  }
}

auto into(std::string& out) {
  return [&out](const JsonView& value) { out = value.string(); };
}
auto into(bool& out) {
  return [&out](const JsonView& value) { out = value.boolean(); };
}
auto seconds_into(double& out) {
  return [&out](const JsonView& value) {
    out = value.number(1e-3, kMostSeconds, "a number of seconds, from 0.001 to 1000000");
  };
}
template <typename Number>
auto count_into(Number& out, std::uint64_t least, std::uint64_t most) {
  return [&out, least, most](const JsonView& value) {
    out = static_cast<Number>(value.integer(
        least, most,
        "a whole number from " + std::to_string(least) + " to " + std::to_string(most)));
  };
}

auto strings_into(std::vector<std::string>& out) {
  return [&out](const JsonView& list) {
    out.clear();
    for (const JsonView& element : list.elements()) out.push_back(element.string());
  };
}

/// A name such as 127.0.0.1.example.org may have any address.
bool is_local(const std::string& host) {
  in_addr address{};
  return host == "localhost" || host == "::1" ||
         (host.starts_with("127.") && ::inet_pton(AF_INET, host.c_str(), &address) == 1);
}

class ConfigReader {
 public:
  ConfigReader(const GatewayOptions& options, GatewayConfig& config)
      : options_(options), config_(config) {}

  void read() {
    if (!options_.config_file.empty()) {
      folder_ = fs::path(options_.config_file).parent_path();
      config_.files.emplace_back(options_.config_file);
      read_text(io::read_text(options_.config_file, kMaxConfigBytes, ErrorCode::kBadConfig),
                options_.config_file);
    } else if (!options_.config.empty()) {
      read_text(options_.config, "gateway.json");
    }
    override_address();
    if (!options_.checkpoint_dir.empty()) config_.checkpoint = options_.checkpoint_dir;
    if (config_.checkpoint.empty()) config_.checkpoint = Router::default_checkpoint_path();
    if (!options_.pool.empty()) config_.pool = options_.pool;
    if (!options_.kernel.empty()) config_.kernel = options_.kernel;
    config_.allow_anonymous |= options_.allow_anonymous;
    for (const std::function<void()>& read_policy : policies_) read_policy();
    if (default_policy_) config_.policy = policy(*default_policy_);
    read_checkpoint_policies();
    if (!options_.policy.empty()) config_.policy = named_policy(options_.policy);
    config_.policy = merge(config_.policy, options_.settings);
    override_endpoint();
    check();
  }

 private:
  void read_text(const std::string& text, const std::string& file) {
    document_.emplace(without_comments(text), file, ErrorCode::kBadConfig);
    const JsonView root = document_->root();
    read_fields(
        root, {{"$schema", [](const JsonView&) {}},
               {"listen", [&](const JsonView& value) { read_listen(value); }},
               {"threads", count_into(config_.threads, 1, 1024)},
               {"tls", [&](const JsonView& value) { read_tls(value); }},
               {"allow_anonymous", into(config_.allow_anonymous)},
               {"allowed_hosts", [&](const JsonView& value) { read_allowed_hosts(value); }},
               {"limits", [&](const JsonView& value) { read_limits(value); }},
               {"checkpoint", [&](const JsonView& value) { config_.checkpoint = path(value); }},
               {"pool", [&](const JsonView& value) { config_.pool = path(value); }},
               {"kernel", into(config_.kernel)},
               // Policies may be names, which need the checkpoint's folder and the other policies.
               {"policy", [&](const JsonView& value) { default_policy_ = value; }},
               {"policies",
                [&](const JsonView& value) {
                  for (const auto& [name, of_name] : value.members()) {
                    policies_.emplace_back([this, key = std::string(name), view = of_name] {
                      config_.policies[key] = policy(view);
                    });
                  }
                }},
               {"bounds", [&](const JsonView& value) { config_.bounds = bounds(value); }},
               {"accepted_fields", strings_into(config_.accepted_fields)},
               {"max_fallbacks", count_into(config_.max_fallbacks, 0, 1000)},
               {"baseline", into(config_.baseline)},
               {"endpoints", [&](const JsonView& value) { read_endpoints(value); }},
               {"embeddings", [&](const JsonView& value) { read_embeddings(value); }},
               {"keys", [&](const JsonView& value) { read_keys(value); }},
               {"ledger", [&](const JsonView& value) { read_ledger(value); }},
               {"log", [&](const JsonView& value) {
                  read_fields(value, {{"access",
                                       [&](const JsonView& file_name) {
                                         config_.log.access =
                                             file_name.string() == "-" ? "-" : path(file_name);
                                       }},
                                      {"prompts", into(config_.log.prompts)}});
                }}});
  }

  /// A path relative to the configuration's folder.
  std::string path(const JsonView& value) const {
    const fs::path given = value.string("a path");
    return given.empty() ? std::string() : (folder_ / given).string();
  }

  /// "env:NAME" or "file:PATH".
  llm::Secret secret(const JsonView& value) {
    constexpr std::string_view kExpected =
        "\"env:NAME\", an environment variable, or \"file:PATH\": keys do not belong into this "
        "file";
    const std::string& text = value.string(kExpected);
    try {
      if (text.starts_with("env:")) {
        const char* const found = std::getenv(text.c_str() + 4);
        if (text.size() == 4) value.fail_with("found no name after \"env:\": add it");
        if (found == nullptr || *found == '\0') {
          value.fail_with("the environment variable " + text.substr(4) + " is not set: set it");
        }
        return llm::Secret(found);
      }
      if (text.starts_with("file:")) {
        const std::string file = (folder_ / text.substr(5)).string();
        config_.files.emplace_back(file);
        const std::string contents = io::read_text(file, kMaxSecretBytes, ErrorCode::kBadConfig);
        if (trimmed(contents).empty()) {
          value.fail_with(file + ": found no text, expected a key: add it");
        }
        return llm::Secret(trimmed(contents));
      }
    } catch (const Error& error) {
      if (!error.where().pointer.empty()) throw;
      value.fail_with(error.what());
    }
    // The text is not shown: it may be a key.
    value.fail_with("found another text, expected " + std::string(kExpected));
  }

  void read_listen(const JsonView& value) {
    if (!set_address(value.string())) value.fail("HOST:PORT, such as 127.0.0.1:4000 or [::1]:4000");
  }

  bool set_address(std::string_view text) {
    std::string_view host = text, port;
    if (text.starts_with('[')) {
      const std::size_t end = text.find(']');
      if (end == text.npos) return false;
      host = text.substr(1, end - 1);
      port = text.substr(end + 1);
      if (!port.empty() && !port.starts_with(':')) return false;
      if (!port.empty()) port.remove_prefix(1);
    } else if (const std::size_t colon = text.rfind(':'); colon != text.npos) {
      host = text.substr(0, colon);
      port = text.substr(colon + 1);
      if (host.find(':') != host.npos) return false;
    }
    if (!port.empty()) {
      const auto [end, error] =
          std::from_chars(port.data(), port.data() + port.size(), config_.port);
      if (error != std::errc() || end != port.data() + port.size()) return false;
    }
    if (!host.empty()) config_.host = host;
    return !text.empty();
  }

  void override_address() {
    if (options_.listen.empty() || set_address(options_.listen)) return;
    throw Error(ErrorCode::kInvalidArgument,
                "the address to listen on is " + excerpt(options_.listen) +
                    ": expected HOST:PORT, such as 127.0.0.1:4000 or [::1]:4000");
  }

  void read_allowed_hosts(const JsonView& value) {
    config_.allowed_hosts.clear();
    for (const JsonView& element : value.elements()) {
      const std::string name = internal::lower_case(element.string());
      if (name.empty() || name.find_first_of(" /:*") != name.npos) {
        element.fail("the name of a host without a port, such as \"gateway.example.org\"");
      }
      config_.allowed_hosts.push_back(name);
    }
  }

  void read_tls(const JsonView& value) {
    TlsFiles files;
    read_fields(value, {{"certificate", [&](const JsonView& of) { files.certificate = path(of); }},
                        {"key", [&](const JsonView& of) { files.key = path(of); }}});
    if (files.certificate.empty()) value["certificate"].fail("the path of a PEM file");
    if (files.key.empty()) value["key"].fail("the path of a PEM file");
    config_.files.emplace_back(files.certificate);
    config_.files.emplace_back(files.key);
    check_tls(files);
    config_.tls = std::move(files);
  }

  void read_limits(const JsonView& value) {
    ServerLimits& limits = config_.limits;
    constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;
    read_fields(value, {{"header_bytes", count_into(limits.header_bytes, 1024, kMiB)},
                        {"body_bytes", count_into(limits.body_bytes, 1024, 1024 * kMiB)},
                        {"buffered_bytes", count_into(limits.buffered_bytes, 1024, kMiB * kMiB)},
                        {"connections", count_into(limits.connections, 1, 10'000'000)},
                        {"head_seconds", seconds_into(limits.head)},
                        {"body_seconds", seconds_into(limits.body)},
                        {"idle_seconds", seconds_into(limits.idle)},
                        {"write_seconds", seconds_into(limits.write)},
                        {"drain_seconds", seconds_into(limits.drain)}});
  }

  /// A policy's object, path or name.
  Policy policy(const JsonView& value) {
    if (value.is_string()) {
      const std::string& text = value.string();
      const std::string file = (folder_ / text).string();
      std::error_code ignored;
      try {
        return named_policy(fs::is_regular_file(file, ignored) ? file : text);
      } catch (const Error& error) {
        if (error.code() != ErrorCode::kNotFound) throw;
        value.fail_with("found \"" + text + "\", " + error.message());
      }
    }
    value.members("a policy: an object, the path of a file, or a name");
    try {
      return parse_policy(value.text());
    } catch (const Error& error) {
      fail_below(value, error);
    }
  }

  /// The error of a document within this one.
  [[noreturn]] static void fail_below(const JsonView& value, const Error& error) {
    const std::string pointer = error.where().pointer;
    value.fail_with((pointer.empty() ? "" : pointer.substr(1) + ": ") + error.message());
  }

  Policy named_policy(const std::string& name) {
    if (const auto known = config_.policies.find(name); known != config_.policies.end()) {
      return known->second;
    }
    const std::string file = find_policy(name, config_.checkpoint);
    config_.files.emplace_back(file);
    return load_policy(file);
  }

  /// The policies in the checkpoint's folder can also be used by name.
  void read_checkpoint_policies() {
    std::error_code none;
    const fs::path folder = fs::path(config_.checkpoint) / "policies";
    for (fs::directory_iterator entry(folder, none), end; !none && entry != end;
         entry.increment(none)) {
      const fs::path file = entry->path();
      if (file.extension() != ".json" || config_.policies.contains(file.stem().string())) continue;
      config_.files.emplace_back(file.string());
      config_.policies[file.stem().string()] = load_policy(file.string());
    }
  }

  Policy bounds(const JsonView& value) {
    const Policy all = policy(value);
    const Policy bounds{.max_cost_usd = all.max_cost_usd,
                        .max_output_tokens = all.max_output_tokens,
                        .allow = all.allow,
                        .deny = all.deny};
    if (!(all == bounds)) {
      value.fail(
          "only max_cost_usd, max_output_tokens, allow and deny: other settings are no limits");
    }
    return bounds;
  }

  void read_endpoints(const JsonView& value) {
    for (const auto& [name, of_name] : value.members("an object with a member for each endpoint")) {
      config_.endpoints.push_back(read_endpoint(std::string(name), of_name));
    }
    if (config_.endpoints.empty()) value.fail("at least one endpoint");
  }

  EndpointConfig read_endpoint(const std::string& name, const JsonView& value) {
    EndpointConfig config{.name = name};
    llm::Endpoint& endpoint = config.endpoint;
    endpoint.retry.max_retries = 2;
    read_fields(
        value,
        {{"base_url", into(endpoint.base_url)},
         {"api_key", [&](const JsonView& key) { endpoint.api_key = secret(key); }},
         {"key_header", into(endpoint.key_header)},
         {"headers",
          [&](const JsonView& headers) {
            for (const auto& [header, text] : headers.members()) {
              const std::string& plain = text.string();
              const bool hidden = plain.starts_with("env:") || plain.starts_with("file:");
              if (hidden) config.secrets.push_back(secret(text));
              endpoint.headers.emplace_back(
                  header, hidden ? std::string(config.secrets.back().reveal()) : plain);
            }
          }},
         {"dialects",
          [&](const JsonView& list) {
            config.dialects.clear();
            for (const JsonView& dialect : list.elements()) {
              const auto kind = find_dialect(dialect.string());
              if (!kind) dialect.fail("\"chat\", \"responses\" or \"messages\"");
              config.dialects.push_back(*kind);
            }
            if (config.dialects.empty()) list.fail("at least one of the three APIs");
          }},
         {"timeouts",
          [&](const JsonView& timeouts) {
            read_fields(timeouts, {{"connect", seconds_into(endpoint.timeouts.connect)},
                                   {"first_byte", seconds_into(endpoint.timeouts.first_byte)},
                                   {"idle", seconds_into(endpoint.timeouts.idle)},
                                   {"total", seconds_into(endpoint.timeouts.total)}});
          }},
         {"max_retries", count_into(endpoint.retry.max_retries, 0, 1000)},
         {"max_response_bytes",
          count_into(endpoint.max_response_bytes, 1024, std::uint64_t{1} << 40)},
         {"cap_field",
          [&](const JsonView& field) { config.cap_field = io::read_name(field, kCapFields); }},
         {"concurrency", count_into(config.concurrency, 1, 1'000'000)},
         {"ca_file", [&](const JsonView& file) { endpoint.ca_file = path(file); }},
         {"proxy", into(endpoint.proxy)}});
    if (endpoint.base_url.empty()) value["base_url"].fail("a URL, such as https://host/v1");
    try {
      llm::CheckedEndpoint checked(endpoint);
    } catch (const Error& error) {
      const std::string& field = error.where().option;
      (field.empty() ? value : value[field]).fail_with(error.message());
    }
    return config;
  }

  void read_embeddings(const JsonView& value) {
    EmbeddingsConfig embeddings;
    read_fields(value, {{"endpoint", into(embeddings.endpoint)},
                        {"input_price_per_million", [&](const JsonView& prices) {
                           for (const auto& [model, price] : prices.members()) {
                             embeddings.prices[std::string(model)] =
                                 price.number(0, 1e9, "USD per million tokens, 0 or more");
                           }
                         }}});
    config_.embeddings = std::move(embeddings);
  }

  void read_keys(const JsonView& value) {
    for (const JsonView& key : value.elements("an array of keys")) {
      config_.keys.push_back(read_key(key));
    }
  }

  Key read_key(const JsonView& value) {
    Key key;
    read_fields(
        value,
        {{"name", into(key.name)},
         {"hash", into(key.hash)},
         {"limits", [&](const JsonView& limits) { key.limits = read_key_limits(limits); }},
         {"models", [&](const JsonView& list) { strings_into(key.models.emplace())(list); }},
         {"policies", [&](const JsonView& list) { strings_into(key.policies.emplace())(list); }},
         {"tags", strings_into(key.tags)}});
    return key;
  }

  static Limits read_key_limits(const JsonView& value) {
    Limits limits;
    const auto usd = [](std::optional<Money>& out) {
      return [&out](const JsonView& amount) {
        out = Money::nearest(amount.number(0, 9e6, "an amount in USD, from 0 to 9000000"));
      };
    };
    const auto count = [](std::optional<std::uint64_t>& out) {
      return [&out](const JsonView& number) {
        out = number.integer(0, std::uint64_t{1} << 53, "a whole number, 0 or more");
      };
    };
    read_fields(value, {{"usd_per_day", usd(limits.per_day)},
                        {"usd_per_month", usd(limits.per_month)},
                        {"usd_total", usd(limits.total)},
                        {"requests_per_minute", count(limits.requests_per_minute)},
                        {"tokens_per_minute", count(limits.tokens_per_minute)}});
    return limits;
  }

  void read_ledger(const JsonView& value) {
    const auto location = [&](const JsonView& of) {
      config_.ledger.location = of.string().starts_with("redis://") ? of.string() : path(of);
    };
    if (value.is_string()) return location(value);
    read_fields(value, {{"location", location}, {"password", [&](const JsonView& password) {
                                                   config_.ledger.password = secret(password);
                                                 }}});
  }

  /// --llm-api-base and the environment's key define the default endpoint if none is configured,
  /// and change it otherwise.
  void override_endpoint() {
    constexpr const char* kOpenRouter = "https://openrouter.ai/api/v1";
    llm::Secret key =
        options_.llm_api_key.empty() ? llm::api_key_from_environment() : options_.llm_api_key;
    if (config_.endpoints.empty()) {
      if (options_.llm_api_base.empty() && key.empty()) return;
      EndpointConfig& added = config_.endpoints.emplace_back();
      added.name = "default";
      added.endpoint.base_url = kOpenRouter;
      added.endpoint.api_key = std::move(key);
      added.endpoint.retry.max_retries = 2;
    } else if (!options_.llm_api_key.empty() || !options_.llm_api_base.empty()) {
      config_.endpoints[0].endpoint.api_key = std::move(key);
    }
    EndpointConfig& first = config_.endpoints[0];
    if (!options_.llm_api_base.empty()) first.endpoint.base_url = options_.llm_api_base;
    if (options_.cap_field != llm::CapField::kAutomatic) first.cap_field = options_.cap_field;
    if (!options_.ca_file.empty()) first.endpoint.ca_file = options_.ca_file;
    if (options_.timeout) {
      first.endpoint.timeouts.total = *options_.timeout;
      first.endpoint.timeouts.first_byte = *options_.timeout;
    }
    try {
      llm::CheckedEndpoint checked(first.endpoint);
    } catch (const Error& error) {
      if (error.where().option != "base_url") throw;
      throw Error(error.code(), error.message(), {.option = "llm_api_base"});
    }
  }

  bool is_endpoint(const std::string& name) const {
    return std::ranges::any_of(config_.endpoints,
                               [&](const EndpointConfig& one) { return one.name == name; });
  }

  void check() {
    if (config_.embeddings && !is_endpoint(config_.embeddings->endpoint)) {
      std::vector<std::string> names;
      for (const EndpointConfig& endpoint : config_.endpoints) names.push_back(endpoint.name);
      document_->root()["embeddings"]["endpoint"].fail(
          "the name of an endpoint" + (names.empty() ? ", but there are none: add \"endpoints\""
                                                     : ": " + internal::list_of(names)));
    }
    check_access(config_, config_.host);
    try {
      const Keys keys(config_.keys);
      for (std::size_t i = 0; i < config_.keys.size(); ++i) {
        for (const std::string& name :
             config_.keys[i].policies.value_or(std::vector<std::string>())) {
          if (config_.policies.contains(name)) continue;
          std::vector<std::string> names;
          for (const auto& [known, settings] : config_.policies) names.push_back(known);
          throw Error(ErrorCode::kBadConfig,
                      "there is no policy \"" + name + "\": add it to \"policies\"" +
                          (names.empty() ? "" : ", or name one of " + internal::list_of(names)),
                      {.pointer = "/keys/" + std::to_string(i) + "/policies"});
        }
      }
    } catch (const Error& error) {
      const std::string file = document_ ? options_.config_file : std::string();
      throw Error(error.code(), error.message(), {.file = file, .pointer = error.where().pointer});
    }
  }

  const GatewayOptions& options_;
  GatewayConfig& config_;
  fs::path folder_;
  std::optional<JsonDocument> document_;
  std::vector<std::function<void()>> policies_;
  std::optional<JsonView> default_policy_;
};

}  // namespace

std::string without_comments(std::string_view json) {
  std::string text(json);
  bool in_string = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (in_string) {
      if (text[i] == '\\') {
        ++i;
      } else if (text[i] == '"') {
        in_string = false;
      }
      continue;
    }
    if (text[i] == '"') {
      in_string = true;
    } else if (text.compare(i, 2, "//") == 0) {
      while (i < text.size() && text[i] != '\n') text[i++] = ' ';
    } else if (text.compare(i, 2, "/*") == 0) {
      const std::size_t end = text.find("*/", i + 2);
      if (end == text.npos) break;  // the parser reports it
      for (; i < end + 2; ++i) {
        if (text[i] != '\n') text[i] = ' ';
      }
      --i;
    }
  }
  return text;
}

SourceFile::SourceFile(std::string file) : path(std::move(file)) {
  std::error_code missing;
  time = fs::last_write_time(path, missing);
  size = fs::file_size(path, missing);
}

bool SourceFile::has_changed() const {
  const SourceFile now(path);
  return now.time != time || now.size != size;
}

void check_access(const GatewayConfig& config, const std::string& host) {
  if (is_local(host) || !config.keys.empty() || config.allow_anonymous) return;
  throw Error(ErrorCode::kInvalidArgument,
              "listening on " + host +
                  " without keys would let everybody who reaches this machine spend your "
                  "money: add \"keys\" to the configuration, listen on 127.0.0.1, or allow it "
                  "(--allow-anonymous, or \"allow_anonymous\": true)");
}

GatewayConfig load_config(const GatewayOptions& options) {
  GatewayConfig config;
  ConfigReader(options, config).read();
  return config;
}

}  // namespace r2router::gateway
