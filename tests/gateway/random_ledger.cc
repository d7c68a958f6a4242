// Whether the gateway's spending limits hold: random requests of many clients at once, to an
// upstream that fails in every way and keeps its own books, through a gateway that is killed and
// started again. Arguments: r2-router [redis]; with "redis", the ledger is in a Redis server
// instead of a file. Environment: R2ROUTER_LEDGER_REQUESTS and R2ROUTER_LEDGER_KILLS (3000 and 4).
//
// The upstream bills each request as dearly as a server may: up to one token for each byte of the
// body, and up to the cap. In integers, so that sums can be compared exactly. Checked are
//
//   billed ≤ limit                              for each key,
//   settled ≤ billed ≤ settled + unsettled ≤ limit   likewise,
//   settled = billed                            where nothing was cut off, nor the gateway killed,
//   the cost that a reply states = the bills of its attempts,
//   the bills of a request ≤ its max_cost_usd, whatever it was retried for.
#include <algorithm>
#include <array>
#include <atomic>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <nlohmann/json.hpp>
#include <sys/socket.h>
#include <unistd.h>

#include "support/process.h"
#include "support/redis_server.h"
#include "support/temporary_folder.h"

namespace {

using nlohmann::json;
using r2router::testing::Process;
using r2router::testing::put_file;
using namespace std::chrono_literals;

std::int64_t setting(const char* name, std::int64_t otherwise) {
  const char* const text = std::getenv(name);
  return text == nullptr ? otherwise : std::atoll(text);
}

class Random {
 public:
  explicit Random(std::uint64_t seed) : engine_(seed) {}
  std::int64_t from_to(std::int64_t low, std::int64_t high) {
    return std::uniform_int_distribution<std::int64_t>(low, high)(engine_);
  }
  bool happens(double probability) { return std::bernoulli_distribution(probability)(engine_); }

 private:
  std::mt19937_64 engine_;
};

// ---- Connections

class Socket {
 public:
  explicit Socket(int descriptor = -1) : descriptor_(descriptor) {}
  Socket(Socket&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}
  Socket& operator=(Socket&& other) noexcept {
    std::swap(descriptor_, other.descriptor_);
    return *this;
  }
  ~Socket() {
    if (descriptor_ >= 0) ::close(descriptor_);
  }

  bool valid() const { return descriptor_ >= 0; }
  int descriptor() const { return descriptor_; }
  bool send(std::string_view data) const {
    while (!data.empty()) {
      const ssize_t count = ::send(descriptor_, data.data(), data.size(), MSG_NOSIGNAL);
      if (count <= 0) return false;
      data.remove_prefix(static_cast<std::size_t>(count));
    }
    return true;
  }
  /// Appends what arrives; false at the end.
  bool receive(std::string& out) const {
    std::array<char, 16384> block;
    const ssize_t count = ::recv(descriptor_, block.data(), block.size(), 0);
    if (count <= 0) return false;
    out.append(block.data(), static_cast<std::size_t>(count));
    return true;
  }
  /// The next close() resets the connection.
  void reset_at_close() const {
    const linger now = {.l_onoff = 1, .l_linger = 0};
    ::setsockopt(descriptor_, SOL_SOCKET, SO_LINGER, &now, sizeof now);
  }

 private:
  int descriptor_;
};

sockaddr_in loopback(std::uint16_t port) {
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

Socket connect_to(std::uint16_t port) {
  Socket socket(::socket(AF_INET, SOCK_STREAM, 0));
  const sockaddr_in address = loopback(port);
  const int on = 1;
  ::setsockopt(socket.descriptor(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  const timeval patience = {.tv_sec = 60, .tv_usec = 0};
  ::setsockopt(socket.descriptor(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  if (::connect(socket.descriptor(), reinterpret_cast<const sockaddr*>(&address), sizeof address) !=
      0) {
    return Socket();
  }
  return socket;
}

/// The value of a header in a head, or empty.
std::string_view header(std::string_view head, std::string_view name) {
  const std::string start = "\n" + std::string(name) + ":";
  const auto found = std::search(head.begin(), head.end(), start.begin(), start.end(),
                                 [](char a, char b) { return std::tolower(a) == std::tolower(b); });
  if (found == head.end()) return {};
  std::string_view value =
      head.substr(static_cast<std::size_t>(found - head.begin()) + start.size());
  value = value.substr(0, value.find('\r'));
  value.remove_prefix(std::min(value.find_first_not_of(' '), value.size()));
  return value;
}

// ---- The clients' APIs

enum class Api { kChat, kMessages, kResponses };

struct ApiFields {
  Api api;
  const char *path, *cap, *text;
};
constexpr std::array<ApiFields, 3> kApis = {
    {{Api::kChat, "chat/completions", "max_tokens", "messages"},
     {Api::kMessages, "messages", "max_tokens", "messages"},
     {Api::kResponses, "responses", "max_output_tokens", "input"}}};

// ---- Money: nano-USD. A price of 1 USD per million tokens is 1,000 nano-USD for a token.

struct Model {
  const char* name;
  const char* id;
  std::int64_t input, output, cache_write;  // nano-USD; cache_write 0: the pool has no such price
};
constexpr std::array<Model, 4> kModels = {
    {{"gpt-5.4", "openai/dear", 2500, 15000, 0},
     {"gpt-5.4-mini", "openai/middle", 750, 4500, 900},
     {"claude-sonnet-5", "anthropic/sonnet", 3000, 15000, 3750},
     {"deepseek-v4-flash", "deepseek/flash", 100, 300, 0}}};

std::string pool() {
  json models = json::object();
  const auto usd = [](std::int64_t nano) { return static_cast<double>(nano) / 1000; };
  for (const Model& model : kModels) {
    json entry = {{"openrouter_id", model.id},
                  {"input_price_per_million", usd(model.input)},
                  {"output_price_per_million", usd(model.output)}};
    if (model.cache_write > 0) entry["cache_write_price_per_million"] = usd(model.cache_write);
    models[model.name] = entry;
  }
  return json{{"models", models}}.dump();
}

// ---- The upstream, with its own books

struct Books {
  std::mutex mutex;
  std::map<std::string, std::int64_t> by_key;
  std::map<std::string, std::int64_t> by_request;
  std::int64_t requests = 0, billed = 0;

  void add(const std::string& key, const std::string& request, std::int64_t nano) {
    const std::lock_guard lock(mutex);
    by_key[key] += nano;
    by_request[request] += nano;
    ++billed;
  }
};

class Upstream {
 public:
  explicit Upstream(Books& books) : books_(books), listener_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address = loopback(0);
    socklen_t size = sizeof address;
    if (::bind(listener_.descriptor(), reinterpret_cast<sockaddr*>(&address), size) != 0 ||
        ::listen(listener_.descriptor(), 512) != 0 ||
        ::getsockname(listener_.descriptor(), reinterpret_cast<sockaddr*>(&address), &size) != 0) {
      throw std::runtime_error("the upstream cannot listen");
    }
    port_ = ntohs(address.sin_port);
    std::thread([this] { accept(); }).detach();
  }

  std::uint16_t port() const { return port_; }

 private:
  void accept() {
    for (std::uint64_t number = 1;; ++number) {
      Socket socket(::accept(listener_.descriptor(), nullptr, nullptr));
      if (!socket.valid()) return;
      const int on = 1;
      ::setsockopt(socket.descriptor(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
      std::thread([this, number, client = std::move(socket)]() mutable {
        Random random(number);
        std::string buffer;
        while (serve(client, buffer, random)) {
        }
      }).detach();
    }
  }

  /// One request. False if the connection ends.
  bool serve(Socket& client, std::string& buffer, Random& random) {
    std::size_t end;
    while ((end = buffer.find("\r\n\r\n")) == buffer.npos) {
      if (!client.receive(buffer)) return false;
    }
    const std::string head = buffer.substr(0, end);
    const std::string_view length_text = header(head, "content-length");
    std::size_t length = 0;
    std::from_chars(length_text.data(), length_text.data() + length_text.size(), length);
    while (buffer.size() < end + 4 + length) {
      if (!client.receive(buffer)) return false;
    }
    const std::string body = buffer.substr(end + 4, length);
    buffer.erase(0, end + 4 + length);
    const std::string_view path = std::string_view(head).substr(0, head.find(" HTTP/"));
    const auto fields =
        std::ranges::find_if(kApis, [&](const ApiFields& one) { return path.ends_with(one.path); });
    return answer(client, json::parse(body), body.size(), fields->api, random);
  }

  bool answer(Socket& client, const json& body, std::size_t bytes, Api api, Random& random) {
    const auto model =
        std::ranges::find_if(kModels, [&](const Model& one) { return body.at("model") == one.id; });
    // The text is "KEY REQUEST words".
    const json& input_field = body.at(api == Api::kResponses ? "input" : "messages");
    const json& content = input_field.is_string() ? input_field : input_field.back().at("content");
    const std::string text = content.is_string() ? content : content.at(0).at("text");
    const std::size_t space = text.find(' ');
    const std::string key = text.substr(0, space);
    const std::string request = text.substr(space + 1, text.find(' ', space + 1) - space - 1);
    const bool calm = key.starts_with("calm");
    {
      const std::lock_guard lock(books_.mutex);
      ++books_.requests;
    }
    if (random.happens(0.06)) {
      static constexpr std::array<int, 3> kStatuses = {429, 500, 503};
      return send_whole(client, kStatuses[static_cast<std::size_t>(random.from_to(0, 2))],
                        R"({"error":{"message":"not now"}})", "Retry-After: 0\r\n");
    }
    const bool old_cap = api == Api::kChat && body.contains("max_tokens");
    if (old_cap && random.happens(0.02)) {
      return send_whole(client, 400,
                        R"({"error":{"message":"Unsupported parameter: 'max_tokens' is not )"
                        R"(supported with this model.","param":"max_tokens",)"
                        R"("code":"unsupported_parameter"}})");
    }
    std::int64_t cap = 0;
    for (const char* name : {"max_tokens", "max_completion_tokens", "max_output_tokens"}) {
      cap = body.value(name, cap);
    }
    if (cap <= 0) throw std::runtime_error("a request without a cap");
    const auto most_input = static_cast<std::int64_t>(bytes);
    const std::int64_t input = random.happens(0.2)
                                   ? most_input
                                   : random.from_to(1, std::max<std::int64_t>(most_input / 4, 1));
    const std::int64_t output = random.happens(0.3) ? cap : random.from_to(1, cap);
    const bool writes =
        api == Api::kMessages && body.dump().find("cache_control") != std::string::npos;
    const std::int64_t written = writes ? random.from_to(0, input) : 0;
    // As dear as Anthropic's cache of an hour, where the pool does not say.
    const std::int64_t write_price = model->cache_write > 0 ? model->cache_write : 2 * model->input;
    const std::int64_t bill =
        (input - written) * model->input + written * write_price + output * model->output;
    if (!calm && random.happens(0.03)) {  // neither answered nor billed
      if (random.happens(0.5)) client.reset_at_close();
      return false;
    }
    books_.add(key, request, bill);
    if (random.happens(0.3)) std::this_thread::sleep_for(1ms * random.from_to(0, 15));
    if (!calm && random.happens(0.01)) {
      return send_whole(client, 504, R"({"error":{"message":"a timeout, but it was billed"}})");
    }
    const bool unreported = !calm && random.happens(0.03);
    const std::size_t cut = !calm && random.happens(0.06)
                                ? static_cast<std::size_t>(random.from_to(0, 400))
                                : std::string::npos;
    json usage;
    if (api == Api::kChat) {
      usage = {{"prompt_tokens", input},
               {"completion_tokens", output},
               {"total_tokens", input + output}};
    } else {
      usage = {{"input_tokens", input - written}, {"output_tokens", output}};
      if (api == Api::kMessages) usage["cache_creation_input_tokens"] = written;
    }
    if (unreported) usage = nullptr;
    std::string reply;
    const bool stream = body.value("stream", false);
    if (!stream) {
      const std::string whole = (api == Api::kChat       ? whole_chat(body, usage)
                                 : api == Api::kMessages ? whole_message(body, usage)
                                                         : whole_response(body, usage))
                                    .dump();
      reply = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: " +
              std::to_string(whole.size()) + "\r\n\r\n" + whole;
      if (cut != reply.npos) return client.send(reply.substr(0, cut)), false;
      return client.send(reply);
    }
    reply =
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
    const std::vector<std::string> events = api == Api::kChat       ? chat_events(body, usage)
                                            : api == Api::kMessages ? message_events(body, usage)
                                                                    : response_events(body, usage);
    const bool slow = random.happens(0.1);
    for (const std::string& event : events) {
      char size[20];
      std::snprintf(size, sizeof size, "%zx\r\n", event.size());
      reply += size + event + "\r\n";
      if (cut != reply.npos && reply.size() > cut) return client.send(reply.substr(0, cut)), false;
      if (!slow) continue;
      if (!client.send(reply)) return false;
      reply.clear();
      std::this_thread::sleep_for(3ms);
    }
    return client.send(reply + "0\r\n\r\n");
  }

  static bool send_whole(const Socket& client, int status, const std::string& body,
                         const std::string& headers = {}) {
    return client.send("HTTP/1.1 " + std::to_string(status) +
                       " X\r\nContent-Type: application/json\r\n" + headers +
                       "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body);
  }

  static json whole_chat(const json& body, const json& usage) {
    json answer = {{"id", "1"},
                   {"object", "chat.completion"},
                   {"model", body.at("model")},
                   {"choices",
                    {{{"index", 0},
                      {"message", {{"role", "assistant"}, {"content", "Goethe wrote it."}}},
                      {"finish_reason", "stop"}}}}};
    if (!usage.is_null()) answer["usage"] = usage;
    return answer;
  }

  static json whole_message(const json& body, const json& usage) {
    json answer = {{"id", "1"},
                   {"type", "message"},
                   {"role", "assistant"},
                   {"model", body.at("model")},
                   {"content", {{{"type", "text"}, {"text", "Goethe wrote it."}}}},
                   {"stop_reason", "end_turn"}};
    if (!usage.is_null()) answer["usage"] = usage;
    return answer;
  }

  static json whole_response(const json& body, const json& usage) {
    json answer = {{"id", "1"},
                   {"object", "response"},
                   {"status", "completed"},
                   {"model", body.at("model")},
                   {"output",
                    {{{"type", "message"},
                      {"role", "assistant"},
                      {"content", {{{"type", "output_text"}, {"text", "Goethe wrote it."}}}}}}}};
    if (!usage.is_null()) answer["usage"] = usage;
    return answer;
  }

  static std::string event(const json& data, const std::string& name = {}) {
    return (name.empty() ? "" : "event: " + name + "\n") + "data: " + data.dump() + "\n\n";
  }

  static std::vector<std::string> chat_events(const json& body, const json& usage) {
    std::vector<std::string> events;
    const auto add = [&](const json& delta, const json& reason) {
      events.push_back(
          event({{"model", body.at("model")},
                 {"choices", {{{"index", 0}, {"delta", delta}, {"finish_reason", reason}}}}}));
    };
    for (const char* word : {"Goethe ", "wrote ", "it."}) add({{"content", word}}, nullptr);
    add(json::object(), "stop");
    if (!usage.is_null()) {
      events.push_back(
          event({{"model", body.at("model")}, {"choices", json::array()}, {"usage", usage}}));
    }
    events.emplace_back("data: [DONE]\n\n");
    return events;
  }

  static std::vector<std::string> message_events(const json& body, const json& usage) {
    json begun = whole_message(body, usage);
    begun["content"] = json::array();
    begun["stop_reason"] = nullptr;
    json ending = {{"type", "message_delta"}, {"delta", {{"stop_reason", "end_turn"}}}};
    if (!usage.is_null()) {
      begun["usage"]["output_tokens"] = 1;
      ending["usage"] = {{"output_tokens", usage.at("output_tokens")}};
    }
    std::vector<std::string> events;
    const auto add = [&](const json& data) { events.push_back(event(data, data.at("type"))); };
    add({{"type", "message_start"}, {"message", begun}});
    add({{"type", "content_block_start"},
         {"index", 0},
         {"content_block", {{"type", "text"}, {"text", ""}}}});
    for (const char* word : {"Goethe ", "wrote ", "it."}) {
      add({{"type", "content_block_delta"},
           {"index", 0},
           {"delta", {{"type", "text_delta"}, {"text", word}}}});
    }
    add({{"type", "content_block_stop"}, {"index", 0}});
    add(ending);
    add({{"type", "message_stop"}});
    return events;
  }

  static std::vector<std::string> response_events(const json& body, const json& usage) {
    json begun = whole_response(body, nullptr);
    begun["output"] = json::array();
    begun["status"] = "in_progress";
    std::vector<std::string> events;
    const auto add = [&](const json& data) { events.push_back(event(data, data.at("type"))); };
    add({{"type", "response.created"}, {"response", begun}});
    for (const char* word : {"Goethe ", "wrote ", "it."}) {
      add({{"type", "response.output_text.delta"},
           {"output_index", 0},
           {"content_index", 0},
           {"delta", word}});
    }
    add({{"type", "response.completed"}, {"response", whole_response(body, usage)}});
    return events;
  }

  Books& books_;
  Socket listener_;
  std::uint16_t port_ = 0;
};

// ---- The gateway

class GatewayProcess {
 public:
  GatewayProcess(std::string program, std::string config)
      : program_(std::move(program)), config_(std::move(config)) {
    // A port that is free now.
    const Socket probe(::socket(AF_INET, SOCK_STREAM, 0));
    sockaddr_in address = loopback(0);
    socklen_t size = sizeof address;
    ::bind(probe.descriptor(), reinterpret_cast<sockaddr*>(&address), size);
    ::getsockname(probe.descriptor(), reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
  }

  std::uint16_t port() const { return port_; }

  void start() {
    process_ = std::make_unique<Process>(std::vector<std::string>{
        program_, "serve", "--config", config_, "--listen", "127.0.0.1:" + std::to_string(port_)});
    for (int i = 0; i < 3000; ++i) {
      if (connect_to(port_).valid()) return;
      std::this_thread::sleep_for(10ms);
    }
    throw std::runtime_error("the gateway does not start");
  }
  void kill() {
    process_->signal(SIGKILL);
    process_->wait();
  }
  int stop() {
    process_->signal(SIGTERM);
    return process_->wait().exit_code;
  }

 private:
  const std::string program_, config_;
  std::uint16_t port_ = 0;
  std::unique_ptr<Process> process_;
};

// ---- Clients

struct Key {
  std::string name;
  std::int64_t limit = -1;  // nano-USD; −1: none
};

/// A reply as far as it has arrived.
struct Reply {
  bool whole = false;
  int status = 0;
  std::string head, body;
};

Reply read_reply(const Socket& socket, bool only_first_byte) {
  Reply reply;
  std::string data;
  std::size_t end;
  while ((end = data.find("\r\n\r\n")) == data.npos) {
    if (!socket.receive(data)) return reply;
    if (only_first_byte) return reply;
  }
  reply.head = data.substr(0, end);
  reply.status = std::atoi(reply.head.c_str() + 9);
  data.erase(0, end + 4);
  const std::string_view length_text = header(reply.head, "content-length");
  std::size_t length = std::string::npos;
  std::from_chars(length_text.data(), length_text.data() + length_text.size(), length);
  for (;;) {
    reply.whole = length == data.npos ? data.ends_with("\r\n0\r\n\r\n") : data.size() >= length;
    if (reply.whole || !socket.receive(data)) break;
  }
  reply.body = std::move(data);
  return reply;
}

/// The cost that a reply states, nano-USD.
std::optional<std::int64_t> stated_cost(const Reply& reply) {
  std::string text(header(reply.head, "x-r2-cost-usd"));
  if (text.empty()) {
    constexpr std::string_view kComment = ": x-r2-cost-usd ";
    const std::size_t found = reply.body.find(kComment);
    if (found == reply.body.npos) return std::nullopt;
    text = reply.body.substr(found + kComment.size(), 40);
  }
  return std::llround(std::atof(text.c_str()) * 1e9);
}

struct Counts {
  std::atomic<std::int64_t> sent = 0, answered = 0, refused = 0, failed = 0, left = 0, lost = 0,
                            compared = 0;
};

struct Check {
  std::mutex mutex;
  std::map<std::string, std::int64_t> stated, most;  // by request
};

/// `most`: the request's own limit, nano-USD; 0: none.
std::string request_of(const Key& key, const std::string& id, const ApiFields& fields,
                       std::int64_t most, Random& random) {
  const bool messages = fields.api == Api::kMessages;
  std::string text = key.name + " " + id + " Who wrote Faust?";
  const std::int64_t most_words = random.happens(0.1) ? 4000 : 150;
  for (std::int64_t words = random.from_to(0, most_words); words > 0; --words) text += " word";
  json body = {
      {"model",
       random.happens(0.2) ? kModels[static_cast<std::size_t>(random.from_to(0, 3))].name : "auto"},
      {"stream", random.happens(0.5)}};
  if (messages || random.happens(0.7)) body[fields.cap] = random.from_to(1, 1500);
  if (random.happens(0.2)) body["r2"] = {{"objective", "best"}};
  if (most > 0) body["r2"]["max_cost_usd"] = static_cast<double>(most) / 1e9;
  if (messages && random.happens(0.4)) {
    body["messages"] = {
        {{"role", "user"},
         {"content",
          {{{"type", "text"}, {"text", text}, {"cache_control", {{"type", "ephemeral"}}}}}}}};
  } else {
    body[fields.text] = {{{"role", "user"}, {"content", text}}};
  }
  const std::string json_text = body.dump();
  return "POST /v1/" + std::string(fields.path) +
         " HTTP/1.1\r\nHost: 127.0.0.1\r\nx-api-key: " + key.name +
         "\r\nContent-Type: application/json\r\nContent-Length: " +
         std::to_string(json_text.size()) + "\r\n\r\n" + json_text;
}

/// Sends requests until there are `most` of all clients.
void be_client(std::uint64_t seed, const std::vector<Key>& keys, std::uint16_t port,
               std::int64_t most, Counts& counts, Check& check) {
  Random random(seed);
  Socket socket;
  for (std::int64_t number; (number = counts.sent++) < most;) {
    const Key& key = keys[static_cast<std::size_t>(
        random.from_to(0, static_cast<std::int64_t>(keys.size()) - 1))];
    const bool calm = key.name.starts_with("calm");
    const std::string id = "q" + std::to_string(seed) + "-" + std::to_string(number);
    const std::int64_t most_cost = random.happens(0.3) ? random.from_to(100'000, 30'000'000) : 0;
    const ApiFields& fields = kApis[static_cast<std::size_t>(random.from_to(0, 2))];
    const std::string request = request_of(key, id, fields, most_cost, random);
    if (most_cost > 0) {
      const std::lock_guard lock(check.mutex);
      check.most[id] = most_cost;
    }
    while (!socket.valid() || random.happens(0.05)) {
      socket = connect_to(port);
      if (!socket.valid()) std::this_thread::sleep_for(5ms);  // it was killed
    }
    if (!socket.send(request)) {
      ++counts.lost;
      socket = Socket();
      continue;
    }
    const bool leaves = !calm && random.happens(0.1);
    if (leaves && random.happens(0.5)) {
      std::this_thread::sleep_for(1ms * random.from_to(0, 20));
      if (random.happens(0.5)) socket.reset_at_close();
      socket = Socket();
      ++counts.left;
      continue;
    }
    const Reply reply = read_reply(socket, leaves);
    if (leaves) {
      socket = Socket();
      ++counts.left;
      continue;
    }
    if (!reply.whole) {
      socket = Socket();
      ++counts.lost;
      continue;
    }
    if (header(reply.head, "connection") == "close") socket = Socket();
    ++(reply.status == 200   ? counts.answered
       : reply.status == 429 ? counts.refused
                             : counts.failed);
    if (reply.status != 200) continue;
    if (const auto cost = stated_cost(reply)) {
      const std::lock_guard lock(check.mutex);
      check.stated[id] = *cost;
    }
  }
}

void run_clients(std::uint64_t seed, const std::vector<Key>& keys, std::uint16_t port,
                 std::int64_t requests, Counts& counts, Check& check,
                 const std::function<void()>& meanwhile) {
  counts.sent = 0;
  std::vector<std::thread> clients;
  for (std::uint64_t i = 0; i < 32; ++i) {
    clients.emplace_back([&, i] { be_client(seed + i, keys, port, requests, counts, check); });
  }
  meanwhile();
  for (std::thread& client : clients) client.join();
}

struct Spent {
  std::int64_t settled = 0, unsettled = 0;
};

Spent spent_by(const Key& key, std::uint16_t port) {
  const Socket socket = connect_to(port);
  socket.send("GET /v1/spend HTTP/1.1\r\nHost: 127.0.0.1\r\nx-api-key: " + key.name + "\r\n\r\n");
  const Reply reply = read_reply(socket, false);
  if (reply.status != 200) throw std::runtime_error("no report: " + reply.head + reply.body);
  const json total = json::parse(reply.body).at("total");
  const auto nano = [&](const char* name) {
    return static_cast<std::int64_t>(std::llround(total.at(name).get<double>() * 1e9));
  };
  return {nano("settled_usd"), nano("unsettled_usd")};
}

int failures = 0;

void expect(bool holds, const std::string& what) {
  if (holds) return;
  ++failures;
  std::printf("FAILED: %s\n", what.c_str());
}

std::string usd(std::int64_t nano) {
  char text[40];
  std::snprintf(text, sizeof text, "%.9f", static_cast<double>(nano) / 1e9);
  return text;
}

/// SHA-256 of "open", "k0", …, as `printf %s NAME | sha256sum` prints them.
std::string hash_of(const std::string& name) {
  const auto outcome = r2router::testing::run({"/usr/bin/sha256sum"}, name);
  return "sha256:" + outcome.out.substr(0, 64);
}

}  // namespace

int main(int argc, char** argv) {
  const bool in_redis = argc == 3 && argv[2] == std::string_view("redis");
  if (argc != 2 && !in_redis) {
    return std::fprintf(stderr, "usage: %s R2-ROUTER [redis]\n", argv[0]), 2;
  }
  std::optional<r2router::testing::RedisServer> redis;
  if (in_redis && r2router::testing::RedisServer::program().empty()) {
    return std::puts("skipped: redis-server is not installed"), 77;
  }
  if (in_redis) redis.emplace();
  const std::int64_t requests = setting("R2ROUTER_LEDGER_REQUESTS", 3000);
  const std::int64_t kills = setting("R2ROUTER_LEDGER_KILLS", 4);
  Books books;
  Upstream upstream(books);
  const r2router::testing::TemporaryFolder folder;
  std::vector<Key> calm = {{"calm0"}, {"calm1", 1'000'000'000'000}, {"calm2", requests * 100'000}};
  std::vector<Key> wild = {{"open"}};
  // From a limit that a few requests exhaust to one that all of them do not.
  std::int64_t limit = 30'000'000;
  for (int i = 0; limit < requests * 30'000'000; ++i, limit *= 3) {
    wild.push_back({"k" + std::to_string(i), limit});
  }
  json config = {{"threads", 2},
                 {"pool", "pool.json"},
                 {"ledger", redis ? redis->url() : "ledger.sqlite"},
                 {"endpoints",
                  {{"main",
                    {{"base_url", "http://127.0.0.1:" + std::to_string(upstream.port()) + "/v1"},
                     {"max_retries", 2}}}}}};
  for (const auto* keys : {&calm, &wild}) {
    for (const Key& key : *keys) {
      json entry = {{"name", key.name}, {"hash", hash_of(key.name)}};
      if (key.limit >= 0) entry["limits"] = {{"usd_total", static_cast<double>(key.limit) / 1e9}};
      config["keys"].push_back(entry);
    }
  }
  put_file(folder / "pool.json", pool());
  put_file(folder / "gateway.json", config.dump());
  GatewayProcess gateway(argv[1], folder / "gateway.json");
  gateway.start();

  // Without kills and faults that leave the cost open, the books agree to the last digit.
  Counts counts;
  Check check;
  run_clients(1'000, calm, gateway.port(), requests / 5, counts, check, [] {});
  std::printf("calm: %lld answered, %lld refused, %lld failed, %lld lost\n",
              static_cast<long long>(counts.answered), static_cast<long long>(counts.refused),
              static_cast<long long>(counts.failed), static_cast<long long>(counts.lost));
  expect(counts.lost == 0, "replies were lost without a kill");
  for (const Key& key : calm) {
    const Spent spent = spent_by(key, gateway.port());
    const std::int64_t billed = books.by_key[key.name];
    expect(spent.settled == billed && spent.unsettled == 0,
           key.name + ": settled " + usd(spent.settled) + ", unsettled " + usd(spent.unsettled) +
               ", but billed " + usd(billed));
    expect(key.limit < 0 || billed <= key.limit, key.name + " exceeds its limit");
    expect(billed > 0, key.name + " has spent nothing");
  }

  Counts wild_counts;
  std::int64_t killed = 0;
  run_clients(2'000, wild, gateway.port(), requests, wild_counts, check, [&] {
    Random random(7);
    // As many kills as planned, spread over the requests.
    for (; killed < kills; ++killed) {
      while (wild_counts.sent < requests * (killed + 1) / (kills + 1)) {
        std::this_thread::sleep_for(1ms);
      }
      std::this_thread::sleep_for(1ms * random.from_to(0, 40));
      gateway.kill();
      gateway.start();
    }
  });
  expect(gateway.stop() == 0, "the gateway does not end in order");
  gateway.start();
  std::printf(
      "wild: %lld answered, %lld refused, %lld failed, %lld left by the client, "
      "%lld lost, %lld kills; the upstream had %lld requests and billed %lld\n",
      static_cast<long long>(wild_counts.answered), static_cast<long long>(wild_counts.refused),
      static_cast<long long>(wild_counts.failed), static_cast<long long>(wild_counts.left),
      static_cast<long long>(wild_counts.lost), static_cast<long long>(killed),
      static_cast<long long>(books.requests), static_cast<long long>(books.billed));
  // What a killed gateway had reserved in Redis is counted when it has been silent for a minute.
  const auto is_counted = [&](const Key& key) {
    const Spent spent = spent_by(key, gateway.port());
    return key.limit < 0 || books.by_key[key.name] <= spent.settled + spent.unsettled;
  };
  for (int second = 0; redis && second < 90 && !std::ranges::all_of(wild, is_counted); ++second) {
    std::this_thread::sleep_for(1s);
  }
  std::printf("%-6s %16s %16s %16s %16s\n", "key", "limit", "billed", "settled", "unsettled");
  for (const Key& key : wild) {
    const Spent spent = spent_by(key, gateway.port());
    const std::int64_t billed = books.by_key[key.name];
    std::printf("%-6s %16s %16s %16s %16s\n", key.name.c_str(),
                key.limit < 0 ? "none" : usd(key.limit).c_str(), usd(billed).c_str(),
                usd(spent.settled).c_str(), usd(spent.unsettled).c_str());
    expect(spent.settled <= billed, key.name + ": settled more than was billed");
    if (key.limit < 0) continue;  // what a killed process had reserved is not known
    expect(billed <= key.limit, key.name + " exceeds its limit");
    expect(billed <= spent.settled + spent.unsettled, key.name + ": billed more than is counted");
    expect(spent.settled + spent.unsettled <= key.limit, key.name + ": counts above its limit");
  }
  std::int64_t compared = 0;
  for (const auto& [request, cost] : check.stated) {
    ++compared;
    const std::int64_t billed = books.by_request[request];
    expect(cost == billed, request + " states " + usd(cost) + ", billed " + usd(billed));
    if (failures > 50) break;
  }
  std::int64_t limited = 0;
  for (const auto& [request, most] : check.most) {
    const auto billed = books.by_request.find(request);
    if (billed == books.by_request.end()) continue;
    ++limited;
    expect(billed->second <= most,
           request + " may cost " + usd(most) + ", billed " + usd(billed->second));
    if (failures > 50) break;
  }
  expect(limited > requests / 20, "hardly any request had a limit of its own");
  expect(compared > requests / 10, "hardly any reply states its cost");
  expect(gateway.stop() == 0, "the gateway does not end in order");
  std::printf("%lld stated costs and %lld limits of requests compared, %d failures\n",
              static_cast<long long>(compared), static_cast<long long>(limited), failures);
  std::fflush(stdout);
  std::_Exit(failures == 0 ? 0 : 1);  // the upstream's threads still run
}
