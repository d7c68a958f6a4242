// An upstream that answers chat completions immediately, for bench/gateway/run.py: what is measured
// is then the gateway alone. It reads as little as possible of a request.
//
//     gateway_upstream [PORT]      prints "listening on PORT"; one thread
//
// A request with "bench_events": N in its body is answered by a stream of N events, one every
// "bench_interval_ms": M. Each event has the time at which it was sent, in nanoseconds of the
// monotonic clock, so a client on the same machine knows its delay. GET /stats returns counts, and
// the time at which a stream was last abandoned by its client.
#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>

namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

struct Stats {
  std::uint64_t requests = 0, aborted = 0;
  std::int64_t open = 0, streams = 0, last_abort_ns = 0;
};

std::int64_t now_ns() {
  return std::chrono::steady_clock::now().time_since_epoch() / std::chrono::nanoseconds(1);
}

/// The number after `name` in a text, or 0.
std::size_t number_after(std::string_view text, std::string_view name) {
  std::size_t number = 0;
  if (const std::size_t at = text.find(name); at != text.npos) {
    text.remove_prefix(at + name.size());
    text.remove_prefix(std::min(text.find_first_of("0123456789"), text.size()));
    std::from_chars(text.data(), text.data() + text.size(), number);
  }
  return number;
}

std::string reply(std::string_view type, std::string_view body) {
  return "HTTP/1.1 200 OK\r\ncontent-type: " + std::string(type) +
         "\r\ncontent-length: " + std::to_string(body.size()) + "\r\n\r\n" + std::string(body);
}

const std::string& whole_answer() {
  static const std::string answer = reply(
      "application/json",
      R"({"id":"chatcmpl-bench","object":"chat.completion","created":1750000000,"model":"bench",)"
      R"("choices":[{"index":0,"message":{"role":"assistant","content":")" +
          std::string(400, 'x') +
          R"("},"finish_reason":"stop"}],"usage":{"prompt_tokens":500,"completion_tokens":100,)"
          R"("total_tokens":600}})");
  return answer;
}

std::string chunk(std::string_view data) {
  char size[24];
  std::snprintf(size, sizeof size, "%zx\r\n", data.size());
  return size + std::string(data) + "\r\n";
}

std::string event(std::string_view choices, std::string_view more = {}) {
  return chunk(
      R"(data: {"id":"chatcmpl-bench","object":"chat.completion.chunk","created":1750000000,)"
      R"("model":"bench","choices":[)" +
      std::string(choices) + "]" + std::string(more) + "}\n\n");
}

class Session : public std::enable_shared_from_this<Session> {
 public:
  Session(tcp::socket socket, Stats& stats)
      : socket_(std::move(socket)), timer_(socket_.get_executor()), stats_(stats) {
    ++stats_.open;
  }
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;
  ~Session() { --stats_.open; }

  void read() {
    socket_.async_read_some(asio::buffer(block_),
                            [self = shared_from_this()](error_code error, std::size_t size) {
                              if (error) return self->end();
                              self->input_.append(self->block_, size);
                              if (self->left_ == 0)
                                self->answer();  // else another request, which has to wait
                              self->read();
                            });
  }

 private:
  void end() {
    if (left_ == 0) return;
    left_ = 0;
    --stats_.streams;
    ++stats_.aborted;
    stats_.last_abort_ns = now_ns();
    timer_.cancel();
  }

  void answer() {
    const std::size_t head = input_.find("\r\n\r\n");
    if (head == input_.npos) return;
    std::size_t length = number_after({input_.data(), head}, "\r\nContent-Length:");
    if (length == 0) length = number_after({input_.data(), head}, "\r\ncontent-length:");
    if (input_.size() < head + 4 + length) return;
    const std::string_view body = std::string_view(input_).substr(head + 4, length);
    if (input_.starts_with("GET /stats")) {
      send(reply("application/json", stats()));
    } else {
      ++stats_.requests;
      left_ = number_after(body, "\"bench_events\":");
      if (left_ == 0) {
        send(whole_answer());
      } else {
        ++stats_.streams;
        interval_ = std::chrono::milliseconds(number_after(body, "\"bench_interval_ms\":"));
        send(
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: "
            "chunked\r\n\r\n");
        timer_.expires_after(std::chrono::nanoseconds(0));
        stream();
      }
    }
    input_.erase(0, head + 4 + length);
  }

  std::string stats() const {
    return R"({"requests":)" + std::to_string(stats_.requests) + R"(,"connections":)" +
           std::to_string(stats_.open) + R"(,"streams":)" + std::to_string(stats_.streams) +
           R"(,"aborted":)" + std::to_string(stats_.aborted) + R"(,"last_abort_ns":)" +
           std::to_string(stats_.last_abort_ns) + "}";
  }

  void stream() {
    timer_.async_wait([self = shared_from_this()](error_code error) {
      if (error || self->left_ == 0) return;
      self->send(event(R"({"index":0,"delta":{"content":"@)" + std::to_string(now_ns()) +
                       R"("},"finish_reason":null})"));
      if (--self->left_ > 0) {
        self->timer_.expires_at(self->timer_.expiry() + self->interval_);
        return self->stream();
      }
      --self->stats_.streams;
      self->send(event(R"({"index":0,"delta":{},"finish_reason":"stop"})") +
                 event("", R"(,"usage":{"prompt_tokens":500,"completion_tokens":100})") +
                 chunk("data: [DONE]\n\n") + "0\r\n\r\n");
    });
  }

  void send(std::string_view text) {
    if (!output_.empty()) {
      output_ += text;
      return;
    }
    // Nearly always, the socket takes everything at once.
    error_code error;
    const std::size_t sent = socket_.write_some(asio::buffer(text), error);
    if (error && error != asio::error::would_block) return;
    text.remove_prefix(sent);
    if (text.empty()) return;
    output_ = text;
    flush();
  }

  void flush() {
    socket_.async_write_some(asio::buffer(output_),
                             [self = shared_from_this()](error_code error, std::size_t size) {
                               if (error) return;
                               self->output_.erase(0, size);
                               if (!self->output_.empty()) self->flush();
                             });
  }

  tcp::socket socket_;
  asio::steady_timer timer_;
  Stats& stats_;
  char block_[8192];
  std::string input_, output_;
  std::size_t left_ = 0;  // events of the stream
  std::chrono::milliseconds interval_{0};
};

class Upstream {
 public:
  explicit Upstream(unsigned short port)
      : acceptor_(context_, {asio::ip::address_v4::loopback(), port}) {}

  void run() {
    std::printf("listening on %d\n", acceptor_.local_endpoint().port());
    std::fflush(stdout);
    accept();
    context_.run();
  }

 private:
  void accept() {
    acceptor_.async_accept([this](error_code error, tcp::socket socket) {
      if (!error) {
        error_code ignored;
        socket.set_option(tcp::no_delay(true), ignored);
        socket.non_blocking(true, ignored);
        std::make_shared<Session>(std::move(socket), stats_)->read();
      }
      accept();
    });
  }

  asio::io_context context_{1};
  tcp::acceptor acceptor_;
  Stats stats_;
};

}  // namespace

int main(int argc, char** argv) {
  try {
    Upstream(argc > 1 ? static_cast<unsigned short>(std::atoi(argv[1])) : 0).run();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "gateway_upstream: %s\n", error.what());
    return 1;
  }
}
