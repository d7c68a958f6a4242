// Load for bench/gateway/run.py that wrk cannot produce: requests at a fixed rate, many streams of
// events at once, and clients that disconnect. Prints its figures as JSON. One thread.
//
//     gateway_load rate PORT BODY RATE SECONDS [ABORT]   64 connections
//     gateway_load streams PORT BODY STREAMS SECONDS
//
// BODY is a file with the request's body. The environment variable KEY is sent as the client's key.
//
// rate: a request's time begins when it is due, even if no connection is free then, so that a
// server that stalls is charged for all that it delays. One request in ABORT is abandoned, with its
// connection, as soon as the answer begins, or at once.
// streams: the delay of each event from gateway_upstream, after all streams have begun.
#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <exception>
#include <fstream>
#include <functional>
#include <iterator>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>

namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;
using Clock = std::chrono::steady_clock;

constexpr std::size_t kConnections = 64;
constexpr std::chrono::milliseconds kBetweenStreams{1};

/// Milliseconds.
class Times {
 public:
  void add(Clock::duration time) {
    values_.push_back(std::chrono::duration<float, std::milli>(time).count());
  }
  std::size_t count() const { return values_.size(); }
  std::string json() {
    std::ranges::sort(values_);
    char text[200];
    std::snprintf(text, sizeof text, R"("p50_ms":%.4f,"p90_ms":%.4f,"p99_ms":%.4f,"max_ms":%.4f)",
                  at(0.5), at(0.9), at(0.99), at(1));
    return text;
  }

 private:
  double at(double share) const {
    if (values_.empty()) return 0;
    const auto last = static_cast<double>(values_.size() - 1);
    return static_cast<double>(values_[static_cast<std::size_t>(share * last)]);
  }
  std::vector<float> values_;
};

/// A client's connection: one request at a time.
class Client : public std::enable_shared_from_this<Client> {
 public:
  struct Events {
    std::function<void(Client&)> on_piece = [](Client&) {};
    std::function<void(Client&)> on_answer = [](Client&) {};
    std::function<void(Client&)> on_failure = [](Client&) {};
  };

  Client(asio::io_context& context, tcp::endpoint server, const std::string& request,
         const Events& events)
      : socket_(context), server_(std::move(server)), request_(request), events_(events) {}

  void connect(std::function<void()> then) {
    socket_.async_connect(
        server_, [this, self = shared_from_this(), then = std::move(then)](error_code error) {
          if (closed_) return;
          if (error) throw std::runtime_error("no connection: " + error.message());
          socket_.set_option(tcp::no_delay(true), error);
          socket_.non_blocking(true, error);
          then();
        });
  }

  void send() {
    answer_.clear();
    asio::async_write(socket_, asio::buffer(request_),
                      [this, self = shared_from_this()](error_code error, std::size_t) {
                        if (error && !closed_) events_.on_failure(*this);
                      });
    read();
  }

  /// Nothing is reported any more.
  void close() {
    closed_ = true;
    error_code ignored;
    socket_.close(ignored);
  }

  /// What has arrived of the answer, with its head.
  std::string& answer() { return answer_; }

  Clock::time_point due = {};
  bool abandon = false;

 private:
  void read() {
    socket_.async_read_some(asio::buffer(block_), [this, self = shared_from_this()](
                                                      error_code error, std::size_t size) {
      if (closed_) return;
      if (error) return events_.on_failure(*this);
      answer_.append(block_, size);
      events_.on_piece(*this);
      if (closed_) return;
      if (!is_complete()) return read();
      answer_.starts_with("HTTP/1.1 200") ? events_.on_answer(*this) : events_.on_failure(*this);
    });
  }

  bool is_complete() const {
    const std::size_t head = answer_.find("\r\n\r\n");
    if (head == answer_.npos) return false;
    constexpr std::string_view kLength = "content-length: ";
    const std::size_t at = answer_.find(kLength);
    if (at > head) return answer_.ends_with("\r\n0\r\n\r\n");
    std::size_t length = 0;
    std::from_chars(answer_.data() + at + kLength.size(), answer_.data() + head, length);
    return answer_.size() >= head + 4 + length;
  }

  tcp::socket socket_;
  const tcp::endpoint server_;
  const std::string& request_;
  const Events& events_;
  std::string answer_;
  char block_[8192];
  bool closed_ = false;
};

class RateLoad {
 public:
  RateLoad(const tcp::endpoint& server, const std::string& request, double rate, double seconds,
           std::size_t abort_every)
      : server_(server),
        request_(request),
        interval_(
            std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(1 / rate))),
        total_(static_cast<std::size_t>(rate * seconds)),
        abort_every_(abort_every),
        timer_(context_) {
    events_.on_piece = [this](Client& client) {
      if (client.abandon) reconnect(client);
    };
    events_.on_answer = [this](Client& client) {
      times_.add(Clock::now() - client.due);
      free(client.shared_from_this());
    };
    events_.on_failure = [this](Client& client) {
      ++failures_;
      reconnect(client);
    };
    for (std::size_t i = 0; i < kConnections; ++i) connect();
  }

  void run() {
    begin_ = Clock::now() + std::chrono::milliseconds(200);
    wait();
    context_.run();
    const double seconds = std::chrono::duration<double>(Clock::now() - begin_).count();
    std::printf(R"({"requests":%zu,"seconds":%.3f,"failures":%zu,"aborted":%zu,%s})"
                "\n",
                times_.count(), seconds, failures_, aborted_, times_.json().c_str());
  }

 private:
  void wait() {
    timer_.expires_at(begin_ +
                      interval_ * static_cast<Clock::duration::rep>(sent_ + waiting_.size()));
    timer_.async_wait([this](error_code) {
      const Clock::time_point now = Clock::now();
      for (auto due = timer_.expiry(); due <= now && sent_ + waiting_.size() < total_;
           due += interval_) {
        waiting_.push_back(due);
        start();
      }
      if (sent_ + waiting_.size() < total_) wait();
    });
  }

  /// Sends a request that is due, if a connection is free.
  void start() {
    if (waiting_.empty() || free_.empty()) return;
    // In turn, so that none is closed by the server for being idle.
    const std::shared_ptr<Client> taken = std::move(free_.front());
    free_.pop_front();
    Client& client = *taken;
    client.due = waiting_.front();
    waiting_.pop_front();
    ++sent_;
    client.abandon = abort_every_ > 0 && sent_ % abort_every_ == 0;
    client.send();
    if (client.abandon && sent_ / abort_every_ % 2 == 0) reconnect(client);
  }

  /// At the end, nothing keeps the loop running.
  void free(const std::shared_ptr<Client>& client) {
    free_.push_back(client);
    start();
  }

  void reconnect(Client& client) {
    aborted_ += client.abandon;
    client.close();
    connect();
  }

  /// The handlers of its pending operations own the client.
  void connect() {
    auto client = std::make_shared<Client>(context_, server_, request_, events_);
    client->connect([this, client] { free(client); });
  }

  asio::io_context context_{1};
  const tcp::endpoint server_;
  const std::string& request_;
  const Clock::duration interval_;
  const std::size_t total_, abort_every_;
  asio::steady_timer timer_;
  Clock::time_point begin_ = {};
  Client::Events events_;
  std::deque<std::shared_ptr<Client>> free_;
  std::deque<Clock::time_point> waiting_;
  std::size_t sent_ = 0, failures_ = 0, aborted_ = 0;
  Times times_;
};

class StreamLoad {
 public:
  StreamLoad(const tcp::endpoint& server, const std::string& request, std::size_t streams,
             double seconds)
      : streams_(streams), seconds_(seconds), timer_(context_) {
    events_.on_piece = [this](Client& client) { read(client); };
    events_.on_answer = events_.on_failure = [this](Client&) { ++ended_; };
    for (std::size_t i = 0; i < streams; ++i) {
      clients_.push_back(std::make_shared<Client>(context_, server, request, events_));
    }
  }

  void run() {
    begin_next();
    context_.run();
    const std::size_t events = times_.count();
    std::printf(R"({"streams":%zu,"events":%zu,"events_per_second":%.0f,"ended_early":%zu,%s})"
                "\n",
                streams_, events, static_cast<double>(events) / seconds_, ended_,
                times_.json().c_str());
  }

 private:
  void begin_next() {
    if (begun_ < streams_) {
      Client& client = *clients_[begun_++];
      client.connect([&client] { client.send(); });
      timer_.expires_after(kBetweenStreams);
      timer_.async_wait([this](error_code) { begin_next(); });
      return;
    }
    timer_.expires_after(std::chrono::seconds(3));
    timer_.async_wait([this](error_code) {
      measuring_ = true;
      timer_.expires_after(
          std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds_)));
      timer_.async_wait([this](error_code) {
        measuring_ = false;
        context_.stop();
      });
    });
  }

  void read(Client& client) {
    std::string& text = client.answer();
    if (measuring_) {
      const auto now = Clock::now().time_since_epoch();
      for (std::size_t at = 0; (at = text.find("\"@", at)) != text.npos; ++at) {
        std::int64_t sent = 0;
        std::from_chars(text.data() + at + 2, text.data() + text.size(), sent);
        times_.add(now - std::chrono::nanoseconds(sent));
      }
    }
    text.erase(0, text.rfind('\n') + 1);
  }

  asio::io_context context_{1};
  const std::size_t streams_;
  const double seconds_;
  asio::steady_timer timer_;
  Client::Events events_;
  std::vector<std::shared_ptr<Client>> clients_;
  std::size_t begun_ = 0, ended_ = 0;
  bool measuring_ = false;
  Times times_;
};

std::string request_of(const std::string& file) {
  std::ifstream in(file, std::ios::binary);
  if (!in) throw std::runtime_error(file + " cannot be read");
  const std::string body(std::istreambuf_iterator<char>(in), {});
  std::string head =
      "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n";
  if (const char* key = std::getenv("KEY")) {
    head += "Authorization: Bearer " + std::string(key) + "\r\n";
  }
  return head + "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    if (argc < 6) throw std::runtime_error("expected the arguments at the top of load.cc");
    const std::string mode = argv[1], request = request_of(argv[3]);
    const tcp::endpoint server(asio::ip::address_v4::loopback(),
                               static_cast<unsigned short>(std::atoi(argv[2])));
    const double count = std::atof(argv[4]), seconds = std::atof(argv[5]);
    if (mode == "rate") {
      RateLoad(server, request, count, seconds,
               argc > 6 ? static_cast<std::size_t>(std::atoi(argv[6])) : 0)
          .run();
    } else {
      StreamLoad(server, request, static_cast<std::size_t>(count), seconds).run();
    }
  } catch (const std::exception& error) {
    std::fprintf(stderr, "gateway_load: %s\n", error.what());
    return 1;
  }
}
