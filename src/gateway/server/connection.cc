// A connection reads continuously, even while a request is answered. The end of the stream means
// that the client has disconnected, and its request is then abandoned.
//
// A message is refused, and its connection closed, if two readers could disagree about where it
// ends: with more than one Content-Length, with both Content-Length and Transfer-Encoding, with a
// Transfer-Encoding other than "chunked", or with a chunk that violates the standard.
#include "gateway/server/connection.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <charconv>
#include <cstdint>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include <boost/asio/buffer.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/status.hpp>
#include <boost/beast/http/verb.hpp>

#include "base/unicode.h"

namespace r2router::gateway {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using Clock = llm::Clock;
using boost::system::error_code;

/// Bytes of later requests that are read while one is answered.
constexpr std::size_t kMostPipelined = std::size_t{64} << 10;
constexpr std::size_t kReadBytes = 4096, kBodyReadBytes = std::size_t{64} << 10;
/// A reply becomes full at the first size, and drained below the second.
constexpr std::size_t kFullBytes = std::size_t{64} << 10, kDrainedBytes = std::size_t{16} << 10;
/// How long a client's input is read after an error, so that the client can read the error.
constexpr std::chrono::seconds kLinger{2};

Clock::duration duration(double seconds) {
  return std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
}

/// A body in a string that grows as the body arrives, regardless of the length stated in the head.
struct GrowingBody {
  using value_type = std::string;

  class reader {
   public:
    template <bool is_request, typename Fields>
    reader(http::header<is_request, Fields>&, value_type& body) : body_(body) {}

    void init(const boost::optional<std::uint64_t>& length, error_code& error) {
      body_.reserve(
          static_cast<std::size_t>(std::min<std::uint64_t>(length.value_or(0), kBodyReadBytes)));
      error = {};
    }
    template <typename Buffers>
    std::size_t put(const Buffers& buffers, error_code& error) {
      std::size_t size = 0;
      for (auto at = asio::buffer_sequence_begin(buffers); at != asio::buffer_sequence_end(buffers);
           ++at) {
        const asio::const_buffer buffer = *at;
        body_.append(static_cast<const char*>(buffer.data()), buffer.size());
        size += buffer.size();
      }
      error = {};
      return size;
    }
    void finish(error_code& error) { error = {}; }

   private:
    value_type& body_;
  };
};

/// The part of a request's body in the sum over all requests.
class BufferedBytes {
 public:
  BufferedBytes(std::atomic<std::size_t>& sum, std::size_t most) : sum_(sum), most_(most) {}
  BufferedBytes(const BufferedBytes&) = delete;
  BufferedBytes& operator=(const BufferedBytes&) = delete;
  ~BufferedBytes() { release(); }

  /// Counts the bytes added to the body. Returns false if the sum is too large.
  bool grow_to(std::size_t bytes) {
    if (bytes <= own_) return true;
    const std::size_t added = bytes - own_;
    if (sum_.fetch_add(added, std::memory_order_relaxed) + added > most_) {
      sum_.fetch_sub(added, std::memory_order_relaxed);
      return false;
    }
    own_ = bytes;
    return true;
  }

  void release() { sum_.fetch_sub(std::exchange(own_, 0), std::memory_order_relaxed); }

 private:
  std::atomic<std::size_t>& sum_;
  const std::size_t most_;
  std::size_t own_ = 0;
};

bool is_header_value(std::string_view value) {
  return std::ranges::none_of(value, [](char c) { return c == '\r' || c == '\n' || c == '\0'; });
}

template <typename Stream>
class StreamConnection final : public Connection,
                               private HttpReply,
                               public std::enable_shared_from_this<StreamConnection<Stream>> {
 public:
  static constexpr bool kTls = !std::is_same_v<Stream, asio::ip::tcp::socket>;

  template <typename... Arguments>
  explicit StreamConnection(ConnectionContext& context, std::string peer, Arguments&&... arguments)
      : context_(context),
        peer_(std::move(peer)),
        stream_(std::forward<Arguments>(arguments)...),
        buffered_(context.buffered, context.limits.buffered_bytes) {}

  void start(ConnectionList::iterator place) {
    place_ = place;
    read_buffer_.resize(kReadBytes);
    set_deadline(context_.limits.head);
    if constexpr (kTls) {
      phase_ = Phase::kHandshake;
      stream_.async_handshake(asio::ssl::stream_base::server,
                              [self = this->shared_from_this()](error_code error) {
                                if (self->phase_ == Phase::kClosed) return;
                                if (error) return self->close();
                                self->phase_ = Phase::kIdle;
                                self->read();
                              });
    } else {
      read();
    }
  }

  bool is_idle() const override { return phase_ == Phase::kIdle || phase_ == Phase::kHandshake; }

  void drain() override {
    if (is_idle()) return close();
    keep_alive_ = false;
  }

  void close() override {
    if (phase_ == Phase::kClosed) return;
    phase_ = Phase::kClosed;
    const auto self = this->shared_from_this();  // the list may hold the last reference
    context_.connections.erase(place_);
    --context_.count;
    task_.reset();
    buffered_.release();
    error_code ignored;
    stream_.lowest_layer().close(ignored);
  }

  void check_time(Clock::time_point now) override {
    switch (phase_) {
      case Phase::kHead:
      case Phase::kBody:
        if (now >= deadline_) refuse(408, "the request did not arrive in time");
        return;
      case Phase::kAnswering:
        if (writing_ && now >= deadline_) close();
        return;
      default:
        if (now >= deadline_) close();
    }
  }

 private:
  enum class Phase { kHandshake, kIdle, kHead, kBody, kAnswering, kLinger, kClosed };
  using Parser = http::request_parser<GrowingBody>;

  void set_deadline(double seconds) { deadline_ = Clock::now() + duration(seconds); }

  // --- reading

  void read() {
    if (reading_ || phase_ == Phase::kClosed || pending_.size() >= kMostPipelined) return;
    reading_ = true;
    stream_.async_read_some(asio::buffer(read_buffer_),
                            [self = this->shared_from_this()](error_code error, std::size_t size) {
                              self->reading_ = false;
                              self->on_read(error, size);
                            });
  }

  void on_read(error_code error, std::size_t size) {
    if (phase_ == Phase::kClosed) return;
    if (error) return close();
    if (phase_ != Phase::kLinger) {
      pending_.append(read_buffer_.data(), size);
      parse();
    }
    read();
  }

  /// Parses what has arrived, up to the end of a request.
  void parse() {
    std::string_view rest = pending_;
    while (!rest.empty() &&
           (phase_ == Phase::kIdle || phase_ == Phase::kHead || phase_ == Phase::kBody)) {
      if (phase_ == Phase::kIdle) {
        // Some clients send a line break after a body.
        rest.remove_prefix(std::min(rest.find_first_not_of("\r\n"), rest.size()));
        if (rest.empty()) break;
        begin_request();
      }
      error_code error;
      rest.remove_prefix(parser_->put(asio::buffer(rest.data(), rest.size()), error));
      if (!buffered_.grow_to(parser_->get().body().size())) {
        return refuse(503, "the requests in progress take up all memory for bodies; try again");
      }
      if (error == http::error::need_more) break;
      if (error) return refuse(error);
      if (phase_ == Phase::kHead && parser_->is_header_done() && !take_head()) return;
      if (parser_->is_done()) {
        pending_.erase(0, pending_.size() - rest.size());
        return answer();
      }
    }
    pending_.erase(0, pending_.size() - rest.size());
  }

  void begin_request() {
    phase_ = Phase::kHead;
    request_ = {.peer = peer_, .begin = Clock::now()};
    modern_ = true;
    is_head_ = false;
    full_ = false;
    parser_.emplace();
    parser_->header_limit(static_cast<std::uint32_t>(context_.limits.header_bytes));
    parser_->body_limit(context_.limits.body_bytes);
    set_deadline(context_.limits.head);
  }

  /// Returns false if the request was refused.
  bool take_head() {
    const auto& head = parser_->get();
    request_.method = std::string(head.method_string());
    const std::string_view target(head.target().data(), head.target().size());
    request_.path = target.substr(0, target.find('?'));
    if (request_.path.size() < target.size()) {
      request_.query = target.substr(request_.path.size() + 1);
    }
    std::size_t lengths = 0, encodings = 0, hosts = 0;
    bool chunked = false, waits = false;
    for (const auto& field : head) {
      const std::string_view value(field.value().data(), field.value().size());
      std::string name = internal::lower_case(
          std::string_view(field.name_string().data(), field.name_string().size()));
      lengths += name == "content-length";
      hosts += name == "host";
      if (name == "content-length" &&
          value.find_first_not_of("0123456789") != std::string_view::npos) {
        return refuse(400, "Content-Length is not a number"), false;
      }
      if (name == "transfer-encoding") {
        ++encodings;
        chunked = internal::lower_case(value) == "chunked";
      }
      waits = waits || (name == "expect" && internal::lower_case(value) == "100-continue");
      request_.headers.emplace_back(std::move(name), value);
    }
    const bool modern = head.version() == 11;
    if (!modern && head.version() != 10) return refuse(505, "expected HTTP/1.1"), false;
    if (lengths > 1) return refuse(400, "the request has two Content-Length headers"), false;
    if (encodings > 1 || (encodings == 1 && (!chunked || !modern))) {
      return refuse(400, "Transfer-Encoding must be \"chunked\" alone"), false;
    }
    if (hosts > 1 || (modern && hosts == 0)) {
      return refuse(400, "expected one Host header"), false;
    }
    if (!request_.path.starts_with('/')) {
      return refuse(400, "the target of the request is not a path"), false;
    }
    modern_ = modern;
    is_head_ = request_.method == "HEAD";
    keep_alive_ = head.keep_alive() && !context_.draining;
    const auto length = parser_->content_length();
    if (length && *length > context_.limits.body_bytes) return refuse_body(), false;
    if (!parser_->is_done() && !context_.handler.wants_body(request_)) {
      return answer_without_body(), false;
    }
    phase_ = Phase::kBody;
    set_deadline(context_.limits.body);
    if (length.value_or(0) > kBodyReadBytes) read_buffer_.resize(kBodyReadBytes);
    if (waits && !parser_->is_done()) {
      out_ += "HTTP/1.1 100 Continue\r\n\r\n";
      flush();
    }
    return true;
  }

  void answer() {
    request_.body = std::move(parser_->get().body());
    parser_.reset();
    // The memory used for reading is not kept while a stream is answered.
    if (read_buffer_.size() > kReadBytes) std::string(kReadBytes, '\0').swap(read_buffer_);
    if (pending_.empty()) std::string().swap(pending_);
    phase_ = Phase::kAnswering;
    finished_ = false;
    // The reply may be complete before there is a task.
    auto task = context_.handler.handle(std::move(request_), *this);
    if (phase_ == Phase::kAnswering) task_ = std::move(task);
  }

  // --- refusing

  /// The connection cannot be used afterwards.
  void answer_without_body() {
    pending_.clear();
    keep_alive_ = false;
    refused_ = true;
    answer();
  }

  void refuse(error_code error) {
    if (error == http::error::body_limit) return refuse_body();
    if (error == http::error::header_limit) {
      return refuse(431, "the head of the request is longer than " +
                             std::to_string(context_.limits.header_bytes) + " bytes");
    }
    refuse(400, "the request is not valid HTTP: " + error.message());
  }

  void refuse_body() {
    refuse(413, "the body is longer than " + std::to_string(context_.limits.body_bytes) +
                    " bytes, the limit");
  }

  /// Answers an incomplete request, after which the connection cannot be used.
  void refuse(int status, const std::string& message) {
    phase_ = Phase::kAnswering;
    finished_ = false;
    keep_alive_ = false;
    parser_.reset();
    pending_.clear();
    buffered_.release();
    send(status, {{"content-type", "application/json"}},
         context_.handler.refusal(status, message, request_.path));
    refused_ = true;
  }

  // --- replying

  void send(int status, const llm::Headers& headers, std::string_view body) override {
    write_head(status, headers);
    out_ += "content-length: " + std::to_string(body.size()) + "\r\n\r\n";
    if (!is_head_) out_ += body;
    finished_ = true;
    flush_soon();
  }

  void begin(int status, const llm::Headers& headers) override {
    if (!modern_) keep_alive_ = false;  // the end of the connection ends the body
    write_head(status, headers);
    out_ += modern_ ? "transfer-encoding: chunked\r\n\r\n" : "\r\n";
    flush_soon();
  }

  void write(std::string_view piece) override {
    if (piece.empty() || is_head_) return;
    if (modern_) {
      std::array<char, 16> size{};
      const auto end = std::to_chars(size.begin(), size.end(), piece.size(), 16).ptr;
      out_.append(size.data(), end).append("\r\n").append(piece).append("\r\n");
    } else {
      out_ += piece;
    }
    flush_soon();
  }

  void finish() override {
    if (modern_ && !is_head_) out_ += "0\r\n\r\n";
    finished_ = true;
    flush_soon();
  }

  bool is_full() const override { return unsent() >= kFullBytes; }

  void write_head(int status, const llm::Headers& headers) {
    const auto reason = http::obsolete_reason(static_cast<http::status>(status));
    out_ += modern_ ? "HTTP/1.1 " : "HTTP/1.0 ";
    out_ += std::to_string(status) + ' ';
    out_.append(reason.data(), reason.size()).append("\r\n");
    for (const auto& [name, value] : headers) {
      if (is_header_value(value)) out_.append(name).append(": ").append(value).append("\r\n");
    }
    if (context_.draining) keep_alive_ = false;
    if (!keep_alive_) {
      out_ += "connection: close\r\n";
    } else if (!modern_) {
      out_ += "connection: keep-alive\r\n";
    }
  }

  std::size_t unsent() const { return out_.size() + sending_.size() - sent_; }

  /// Pieces that are written in the same turn of the loop are sent together.
  void flush_soon() {
    if (writing_ || std::exchange(flush_posted_, true)) return;
    asio::post(stream_.get_executor(), [self = this->shared_from_this()] {
      self->flush_posted_ = false;
      self->flush();
    });
  }

  void flush() {
    if (writing_ || phase_ == Phase::kClosed) return;
    if (out_.empty()) {
      if (phase_ == Phase::kAnswering && finished_) end_answer();
      return;
    }
    sending_.swap(out_);
    out_.clear();
    sent_ = 0;
    writing_ = true;
    set_deadline(context_.limits.write);
    send_some();
  }

  void send_some() {
    stream_.async_write_some(asio::buffer(sending_.data() + sent_, sending_.size() - sent_),
                             [self = this->shared_from_this()](error_code error, std::size_t size) {
                               self->on_sent(error, size);
                             });
  }

  void on_sent(error_code error, std::size_t size) {
    if (phase_ == Phase::kClosed) return;
    if (error) return close();
    const bool was_full = is_full();
    full_ = full_ || was_full;
    sent_ += size;
    if (sent_ < sending_.size()) {
      set_deadline(context_.limits.write);
      send_some();
    } else {
      writing_ = false;
      sent_ = 0;
      sending_.clear();
      if (sending_.capacity() > kFullBytes) sending_.shrink_to_fit();
      flush();
    }
    if (full_ && phase_ == Phase::kAnswering && unsent() < kDrainedBytes) {
      full_ = false;
      if (task_) task_->on_drained();
    }
  }

  void end_answer() {
    task_.reset();
    buffered_.release();
    if (!keep_alive_) return end_connection();
    phase_ = Phase::kIdle;
    set_deadline(context_.limits.idle);
    // After the connections that have been idle longer.
    context_.connections.splice(context_.connections.end(), context_.connections, place_);
    parse();
    read();
  }

  void end_connection() {
    error_code ignored;
    stream_.lowest_layer().shutdown(asio::ip::tcp::socket::shutdown_send, ignored);
    if (!refused_) return close();
    // A socket that is closed with unread data is reset, which may destroy the reply.
    phase_ = Phase::kLinger;
    deadline_ = Clock::now() + kLinger;
    read();
  }

  ConnectionContext& context_;
  const std::string peer_;
  Stream stream_;
  ConnectionList::iterator place_ = {};
  Phase phase_ = Phase::kIdle;
  Clock::time_point deadline_ = {};

  BufferedBytes buffered_;
  std::string read_buffer_;
  std::string pending_;  // received and not parsed
  std::optional<Parser> parser_;
  HttpRequest request_;
  std::unique_ptr<HttpTask> task_;

  std::string out_, sending_;
  std::size_t sent_ = 0;  // of sending_
  bool reading_ = false, writing_ = false, flush_posted_ = false;
  bool full_ = false;      // the reply was full and on_drained() is due
  bool finished_ = false;  // the reply is complete
  bool refused_ = false;   // the client may still be sending
  bool keep_alive_ = false, modern_ = true, is_head_ = false;
};

template <typename Stream, typename... Arguments>
void serve(ConnectionContext& context, std::string peer, Arguments&&... arguments) {
  auto connection = std::make_shared<StreamConnection<Stream>>(
      context, std::move(peer), std::forward<Arguments>(arguments)...);
  context.connections.push_back(connection);
  ++context.count;
  connection->start(std::prev(context.connections.end()));
}

}  // namespace

void serve_connection(asio::ip::tcp::socket socket, std::shared_ptr<asio::ssl::context> tls,
                      ConnectionContext& context) {
  error_code error;
  socket.set_option(asio::ip::tcp::no_delay(true), error);
  const auto peer = socket.remote_endpoint(error);
  if (error) return;  // it has already disconnected
  const std::string address = peer.address().to_string();
  if (tls == nullptr) return serve<asio::ip::tcp::socket>(context, address, std::move(socket));
  serve<asio::ssl::stream<asio::ip::tcp::socket>>(context, address, std::move(socket), *tls);
}

}  // namespace r2router::gateway
