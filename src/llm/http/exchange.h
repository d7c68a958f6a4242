// One HTTP request through libcurl, without what drives it: both transports derive from it.
#pragma once

#include <cstddef>
#include <exception>
#include <memory>
#include <mutex>
#include <new>
#include <string>
#include <string_view>

#include <curl/curl.h>

#include "r2router/error.h"
#include "r2router/llm/endpoint.h"

#include "llm/http/transport.h"

namespace r2router::llm {

/// Initialises libcurl's global state, once. Throws Error(kUnsupported) if that fails. Thread-safe.
void initialise_curl();

/// A list of header lines.
class HeaderLines {
 public:
  HeaderLines() = default;
  HeaderLines(const HeaderLines&) = delete;
  HeaderLines& operator=(const HeaderLines&) = delete;
  ~HeaderLines() { curl_slist_free_all(list_); }

  void add(const std::string& line) {
    curl_slist* const longer = curl_slist_append(list_, line.c_str());
    if (longer == nullptr) throw std::bad_alloc();
    list_ = longer;
  }
  void add(const std::string& name, const std::string& value) {
    // For libcurl, a semicolon marks a header without a value.
    add(value.empty() ? name + ";" : name + ": " + value);
  }
  curl_slist* get() const { return list_; }

 private:
  curl_slist* list_ = nullptr;
};

/// An endpoint that can be called.
struct CheckedEndpoint {
  /// Throws Error(kInvalidArgument) for an invalid endpoint, and Error(kNotFound) for a missing
  /// ca_file.
  explicit CheckedEndpoint(const Endpoint& settings);

  const Endpoint endpoint;
  const std::string server;  ///< its host and port, for messages
};

/// One request in progress: the target of libcurl's callbacks, and why it was stopped. Redirects
/// are not followed, the protocols are HTTP and HTTPS, and the request is sent only once, even if a
/// reused connection turns out to be dead. A derived class adds the easy handle to a multi handle,
/// keeps to next_limit(), and calls end() with libcurl's result.
class Exchange {
 public:
  Exchange(const Exchange&) = delete;
  Exchange& operator=(const Exchange&) = delete;

 protected:
  /// What becomes of a piece of the body.
  enum class Take {
    kMore,
    kStop,   ///< ends the transfer without a failure
    kPause,  ///< the piece is not taken: it comes again after curl_easy_pause()
  };

  /// The arguments must outlive the exchange.
  Exchange(CURL* easy, const Request& request, const CheckedEndpoint& endpoint)
      : easy_(easy), request_(request), endpoint_(endpoint.endpoint), server_(endpoint.server) {}
  virtual ~Exchange() = default;

  /// Takes a piece of the body of a 2xx answer. Of other answers the body is collected.
  virtual Take take_answer(std::string_view piece) = 0;

  /// Sets all options of the easy handle.
  void set_up();
  /// The time at which waiting ends, and if it is asked for, why.
  Clock::time_point next_limit(std::string* meaning) const;
  /// The idle time limit starts again.
  void restart_idle() { last_byte_ = Clock::now(); }
  /// Stops the exchange; its outcome is this failure.
  void give_up(ErrorCode code, std::string message);
  /// The outcome. Throws what a callback has thrown.
  Response end(CURLcode result);

  CURL* easy() const { return easy_; }
  const Request& request() const { return request_; }
  const std::string& server() const { return server_; }
  Response& response() { return response_; }
  const Response& response() const { return response_; }
  template <typename Value>
  void set(CURLoption option, Value value) {
    const CURLcode result = curl_easy_setopt(easy_, option, value);
    if (result == CURLE_OUT_OF_MEMORY) throw std::bad_alloc();
    if (result != CURLE_OK) {
      throw Error(ErrorCode::kUnsupported,
                  std::string("this libcurl cannot be used: ") + curl_easy_strerror(result));
    }
  }

 private:
  void report(CURLcode result);
  void take_header(std::string_view line);
  Take take_body(std::string_view piece);
  std::size_t give_body(char* buffer, std::size_t size);

  static int on_connected(void* self, char*, char*, int, int);
  static std::size_t on_header(char* data, std::size_t, std::size_t size, void* self);
  static std::size_t on_body(char* data, std::size_t, std::size_t size, void* self);
  static std::size_t on_upload(char* buffer, std::size_t, std::size_t size, void* self);

  CURL* easy_;
  const Request& request_;
  const Endpoint& endpoint_;
  const std::string& server_;
  HeaderLines headers_;
  Response response_;
  Clock::time_point start_ = Clock::now();
  Clock::time_point last_byte_;  // of the answer, if any
  std::size_t uploaded_ = 0, header_bytes_ = 0, body_bytes_ = 0;
  bool stopped_ = false;  // take_answer() returned kStop
  std::exception_ptr thrown_;
  char error_[CURL_ERROR_SIZE] = {};
};

}  // namespace r2router::llm
