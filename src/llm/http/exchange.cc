#include "llm/http/exchange.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <fstream>
#include <utility>

#include "r2router/version.h"

#include "base/unicode.h"
#include "llm/http/endpoint.h"

namespace r2router::llm {
namespace {

using Seconds = std::chrono::duration<double>;

constexpr std::size_t kMaxHeaderBytes = std::size_t{256} << 10;

/// `field`: of the endpoint.
[[noreturn]] void fail(const std::string& field, const std::string& message) {
  throw Error(ErrorCode::kInvalidArgument, message, {.option = field});
}

std::string shown(double seconds) {
  std::string text = std::to_string(seconds);
  text.erase(text.find_last_not_of('0') + 1);
  if (text.ends_with('.')) text.pop_back();
  return text + " s";
}

/// The parts of a URL, as libcurl parses them.
class Url {
 public:
  explicit Url(const std::string& text) : handle_(curl_url()) {
    if (handle_ == nullptr) throw std::bad_alloc();
    // Distinguishes unsupported schemes from text that is not a URL.
    valid_ =
        curl_url_set(handle_, CURLUPART_URL, text.c_str(), CURLU_NON_SUPPORT_SCHEME) == CURLUE_OK;
  }
  Url(const Url&) = delete;
  Url& operator=(const Url&) = delete;
  ~Url() { curl_url_cleanup(handle_); }

  bool valid() const { return valid_; }
  /// "" for a missing part.
  std::string part(CURLUPart which, unsigned flags = 0) const {
    char* value = nullptr;
    if (!valid_ || curl_url_get(handle_, which, &value, flags) != CURLUE_OK) return {};
    std::string text(value);
    curl_free(value);
    return text;
  }

 private:
  CURLU* handle_;
  bool valid_ = false;
};

/// Paths of calls, which are appended to an address.
constexpr std::string_view kCalls[] = {"/chat/completions", "/completions", "/responses",
                                       "/messages", "/embeddings"};

/// Host and port, for messages.
std::string check_url(const BaseUrl& base) {
  const auto refuse = [](const std::string& message) { fail("base_url", message); };
  const std::string text = base.with("");
  const std::string expected =
      ": expected \"http://\" or \"https://\", a host, and optionally a port and a path, such as "
      "\"http://127.0.0.1:8000\"";
  const Url url(text);
  const std::string scheme = url.part(CURLUPART_SCHEME);
  // A key may have been pasted instead of the address, so show only known parts.
  if (!url.valid() || text.find("://") == text.npos)
    refuse("the endpoint's address is not a URL" + expected);
  if (scheme != "http" && scheme != "https") {
    refuse("the endpoint's address begins with \"" + scheme + "://\"" + expected);
  }
  if (!url.part(CURLUPART_USER).empty() || !url.part(CURLUPART_PASSWORD).empty()) {
    refuse("the endpoint's address contains a user name or password: use api_key instead");
  }
  if (text.find('#') != text.npos) {
    refuse("the endpoint's address contains \"#\", after which no path can be appended" + expected);
  }
  for (const std::string_view call : kCalls) {
    if (!base.address.ends_with(call)) continue;
    refuse("the endpoint's address ends with \"" + std::string(call) +
           "\", the path of a call: expected the address before that path, such as "
           "\"https://host/v1\", since each call appends its own; remove it");
  }
  return url.part(CURLUPART_HOST) + ":" + url.part(CURLUPART_PORT, CURLU_DEFAULT_PORT);
}

void check_proxy(const std::string& text) {
  const Url url(text);
  // It may contain a password, so show only the scheme.
  if (url.valid() && text.find("://") != text.npos) {
    const std::string scheme = url.part(CURLUPART_SCHEME);
    for (const char* known : {"http", "https", "socks4", "socks4a", "socks5", "socks5h"}) {
      if (scheme == known) return;
    }
  }
  fail("proxy",
       "the endpoint's proxy is not the URL of a proxy: expected \"http://\", \"https://\", "
       "\"socks5h://\" or another SOCKS scheme, a host and a port, such as "
       "\"http://127.0.0.1:3128\"");
}

/// Headers that describe the connection or the body, which every call sets itself.
constexpr std::string_view kOwnHeaders[] = {"host",
                                            "connection",
                                            "keep-alive",
                                            "proxy-connection",
                                            "te",
                                            "trailer",
                                            "upgrade",
                                            "expect",
                                            "content-length",
                                            "content-type",
                                            "content-encoding",
                                            "transfer-encoding",
                                            "accept-encoding"};

void check_header_name(const std::string& field, const std::string& name) {
  constexpr std::string_view kTokenCharacters =
      "!#$%&'*+-.^_`|~0123456789"
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
  if (name.empty() || name.find_first_not_of(kTokenCharacters) != name.npos) {
    fail(field,
         "a header of the endpoint has a name that HTTP does not allow: expected letters, digits "
         "and \"-\", such as \"HTTP-Referer\" or \"x-api-key\"");
  }
  if (std::ranges::find(kOwnHeaders, internal::lower_case(name)) != std::end(kOwnHeaders)) {
    fail(field, "the endpoint sets the header " + name +
                    ", which each call sets itself, from the address and the body: remove it");
  }
}

void check_headers(const Endpoint& endpoint) {
  const std::string key_header =
      endpoint.key_header.empty() ? "Authorization" : endpoint.key_header;
  check_header_name("key_header", key_header);
  for (const auto& [name, value] : endpoint.headers) {
    check_header_name("headers", name);
    if (value.find_first_of(std::string("\r\n\0", 3)) != value.npos) {
      fail("headers",
           "the header " + name + " of the endpoint has a line break in its value: remove it");
    }
    if (!endpoint.api_key.empty() &&
        internal::lower_case(name) == internal::lower_case(key_header)) {
      fail("headers",
           "the endpoint has both an api_key and the header " + key_header + ": set one of them");
    }
  }
}

void check_positive(double value, const char* name) {
  if (value > 0) return;  // false for NaN
  fail({}, std::string(name) + " is " + std::to_string(value) +
               ": expected a number of seconds above 0");
}

void check_not_negative(double value, const char* name) {
  if (value >= 0 && std::isfinite(value)) return;
  fail({}, std::string(name) + " is " + std::to_string(value) +
               ": expected a number of seconds, 0 or more");
}

}  // namespace

CheckedEndpoint::CheckedEndpoint(const Endpoint& settings)
    : endpoint(settings), server(check_url(BaseUrl(settings.base_url))) {
  check_headers(endpoint);
  if (!endpoint.proxy.empty()) check_proxy(endpoint.proxy);
  check_positive(endpoint.timeouts.connect, "Timeouts::connect");
  check_positive(endpoint.timeouts.first_byte, "Timeouts::first_byte");
  check_positive(endpoint.timeouts.idle, "Timeouts::idle");
  check_positive(endpoint.timeouts.total, "Timeouts::total");
  check_not_negative(endpoint.retry.first_delay, "RetryPolicy::first_delay");
  check_not_negative(endpoint.retry.max_delay, "RetryPolicy::max_delay");
  check_not_negative(endpoint.retry.max_retry_after, "RetryPolicy::max_retry_after");
  if (!endpoint.ca_file.empty() && !std::ifstream(endpoint.ca_file)) {
    throw Error(ErrorCode::kNotFound,
                "the file of trusted authorities cannot be read: set ca_file to a PEM file",
                {.file = endpoint.ca_file, .option = "ca_file"});
  }
}

Response Exchange::end(CURLcode result) {
  if (thrown_) std::rethrow_exception(thrown_);
  if (!response_.failure && !stopped_ && result != CURLE_OK) report(result);
  if (response_.failure) {
    response_.failure->http_status = response_.status;
    response_.failure->message = redact(std::move(response_.failure->message), endpoint_.api_key);
  }
  response_.seconds = Seconds(Clock::now() - start_).count();
  return std::move(response_);
}

void Exchange::set_up() {
  for (const auto& [name, value] : endpoint_.headers) headers_.add(name, value);
  for (const auto& [name, value] : request_.headers) headers_.add(name, value);
  if (!endpoint_.api_key.empty()) {
    const std::string& key = endpoint_.api_key.reveal();
    endpoint_.key_header.empty() ? headers_.add("Authorization", "Bearer " + key)
                                 : headers_.add(endpoint_.key_header, key);
  }
  headers_.add("Expect:");  // avoids a round trip before long bodies
  // Decompresses answers, but does not request compression, which would delay a stream.
  headers_.add("Accept-Encoding:");
  set(CURLOPT_ACCEPT_ENCODING, "");
  set(CURLOPT_URL, request_.url.c_str());
  set(CURLOPT_PROTOCOLS_STR, "http,https");
  set(CURLOPT_SSLVERSION, static_cast<long>(CURL_SSLVERSION_TLSv1_2));
  set(CURLOPT_NOSIGNAL, 1L);
  set(CURLOPT_TCP_KEEPALIVE, 1L);
  set(CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
  set(CURLOPT_USERAGENT, "r2router/" R2ROUTER_VERSION);
  set(CURLOPT_ERRORBUFFER, error_);
  // libcurl itself keeps this limit: it gives each address of the host a share of the time.
  set(CURLOPT_CONNECTTIMEOUT_MS,
      static_cast<long>(std::ceil(std::min(endpoint_.timeouts.connect, 1e6) * 1000)));
  set(CURLOPT_QUICK_EXIT, 1L);  // do not wait for an abandoned name lookup
  if (!endpoint_.ca_file.empty()) {
    set(CURLOPT_CAINFO, endpoint_.ca_file.c_str());
    set(CURLOPT_CAPATH, static_cast<char*>(nullptr));
  }
  if (!endpoint_.proxy.empty()) {
    set(CURLOPT_PROXY, endpoint_.proxy.c_str());
    set(CURLOPT_NOPROXY, "");  // instead of $no_proxy
  }
  set(CURLOPT_HTTPHEADER, headers_.get());
  if (request_.method == "POST") {
    set(CURLOPT_POST, 1L);
    set(CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(request_.body.size()));
    // libcurl would silently resend a request if a reused connection turns out to be dead. It
    // cannot resend a body that it must read from a callback and cannot rewind.
    set(CURLOPT_READFUNCTION, &Exchange::on_upload);
    set(CURLOPT_READDATA, static_cast<void*>(this));
  }
  set(CURLOPT_PREREQFUNCTION, &Exchange::on_connected);
  set(CURLOPT_PREREQDATA, static_cast<void*>(this));
  set(CURLOPT_HEADERFUNCTION, &Exchange::on_header);
  set(CURLOPT_HEADERDATA, static_cast<void*>(this));
  set(CURLOPT_WRITEFUNCTION, &Exchange::on_body);
  set(CURLOPT_WRITEDATA, static_cast<void*>(this));
}

Clock::time_point Exchange::next_limit(std::string* meaning) const {
  const Timeouts& timeouts = endpoint_.timeouts;
  const bool answered = response_.answered;
  // Effectively never, but without overflow.
  const Seconds patience(std::min(answered ? timeouts.idle : timeouts.first_byte, 1e8));
  const Clock::time_point limit =
      (answered ? last_byte_ : start_) + std::chrono::duration_cast<Clock::duration>(patience);
  if (meaning == nullptr) return std::min(limit, request_.deadline);
  if (request_.deadline < limit) {
    *meaning = "the call's deadline expired while " + server_ +
               (answered ? " was answering" : " had not started to answer") +
               ": allow more time, or a shorter answer";
    return request_.deadline;
  }
  *meaning = answered ? server_ + " sent nothing for " + shown(timeouts.idle) +
                            " in the middle of its answer (the limit Timeouts::idle)"
                      : server_ + " did not start to answer within " + shown(timeouts.first_byte) +
                            " (the limit Timeouts::first_byte)";
  return limit;
}

void Exchange::give_up(ErrorCode code, std::string message) {
  response_.failure = Failure{.code = code, .message = std::move(message)};
}

void Exchange::report(CURLcode result) {
  const std::string detail = error_[0] != '\0' ? error_ : curl_easy_strerror(result);
  const std::string reason = " (" + detail + ")";
  switch (result) {
    case CURLE_OUT_OF_MEMORY:
      if (!response_.sent) throw std::bad_alloc();
      return give_up(ErrorCode::kBadResponse, server_ + " sent an endless line of headers");
    case CURLE_COULDNT_CONNECT:
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
      return give_up(ErrorCode::kConnection,
                     "no connection to " + server_ + reason + ": is the server running there?");
    case CURLE_OPERATION_TIMEDOUT:
      return give_up(ErrorCode::kTimeout, "no connection to " + server_ + " within " +
                                              shown(endpoint_.timeouts.connect) +
                                              " (the limit Timeouts::connect)");
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
      return give_up(ErrorCode::kUntrusted,
                     "the certificate of " + server_ + " is not trusted" + reason +
                         ": if it is genuine, set ca_file to the file of its authority");
    case CURLE_UNSUPPORTED_PROTOCOL:  // an answer that is not HTTP counts as HTTP/0.9
    case CURLE_WEIRD_SERVER_REPLY:
      return give_up(ErrorCode::kBadResponse, server_ + " does not answer as an HTTP server" +
                                                  reason + ": check the address and its port");
    case CURLE_BAD_CONTENT_ENCODING:
      return give_up(ErrorCode::kBadResponse, server_ +
                                                  " sent a compressed answer that cannot be read" +
                                                  reason + ": switch its compression off");
    case CURLE_GOT_NOTHING:
    case CURLE_SEND_FAIL_REWIND:  // libcurl tried to send it again
      return give_up(ErrorCode::kConnection, server_ + " closed the connection without an answer");
    default:
      return give_up(ErrorCode::kConnection, "the connection to " + server_ + " broke" +
                                                 (response_.answered ? " in its answer" : "") +
                                                 reason);
  }
}

void Exchange::take_header(std::string_view line) {
  last_byte_ = Clock::now();
  response_.answered = true;
  header_bytes_ += line.size();
  if (header_bytes_ > kMaxHeaderBytes) {
    return give_up(
        ErrorCode::kBadResponse,
        server_ + " sent more than " + std::to_string(kMaxHeaderBytes >> 10) + " KiB of headers");
  }
  line = line.substr(0, line.find_last_not_of(" \t\r\n") + 1);
  if (line.starts_with("HTTP/")) {  // again after an answer such as 100 Continue
    long status = 0;
    curl_easy_getinfo(easy_, CURLINFO_RESPONSE_CODE, &status);
    response_.status = static_cast<int>(status);
    response_.headers.clear();
    return;
  }
  const std::size_t colon = line.find(':');
  if (colon == line.npos) return;
  std::string_view value = line.substr(colon + 1);
  while (value.starts_with(' ') || value.starts_with('\t')) value.remove_prefix(1);
  response_.headers.emplace_back(internal::lower_case(line.substr(0, colon)), value);
}

Exchange::Take Exchange::take_body(std::string_view piece) {
  last_byte_ = Clock::now();
  if (piece.size() > endpoint_.max_response_bytes - body_bytes_) {
    give_up(ErrorCode::kBadResponse, "the answer of " + server_ + " is longer than " +
                                         std::to_string(endpoint_.max_response_bytes) +
                                         " bytes (the limit Endpoint::max_response_bytes)");
    return Take::kStop;
  }
  Take taken = Take::kMore;
  if (response_.status >= 200 && response_.status < 300) {
    taken = take_answer(piece);
    stopped_ = taken == Take::kStop;
  } else {
    response_.body += piece;
  }
  if (taken == Take::kMore) body_bytes_ += piece.size();
  return taken;
}

std::size_t Exchange::give_body(char* buffer, std::size_t size) {
  const std::size_t count = std::min(size, request_.body.size() - uploaded_);
  std::memcpy(buffer, request_.body.data() + uploaded_, count);
  uploaded_ += count;
  return count;
}

// The request itself is sent next; data before it was for TLS or a proxy.
int Exchange::on_connected(void* self, char*, char*, int, int) {
  static_cast<Exchange*>(self)->response_.sent = true;
  return CURL_PREREQFUNC_OK;
}

// Exceptions must not pass through libcurl, which is written in C.
std::size_t Exchange::on_header(char* data, std::size_t, std::size_t size, void* self) {
  auto& exchange = *static_cast<Exchange*>(self);
  try {
    exchange.take_header({data, size});
  } catch (...) {
    exchange.thrown_ = std::current_exception();
  }
  return exchange.thrown_ || exchange.response_.failure ? 0 : size;
}

std::size_t Exchange::on_body(char* data, std::size_t, std::size_t size, void* self) {
  auto& exchange = *static_cast<Exchange*>(self);
  try {
    switch (exchange.take_body({data, size})) {
      case Take::kMore:
        return size;
      case Take::kPause:
        return CURL_WRITEFUNC_PAUSE;
      case Take::kStop:
        break;
    }
    return CURL_WRITEFUNC_ERROR;
  } catch (...) {
    exchange.thrown_ = std::current_exception();
    return CURL_WRITEFUNC_ERROR;
  }
}

std::size_t Exchange::on_upload(char* buffer, std::size_t, std::size_t size, void* self) {
  return static_cast<Exchange*>(self)->give_body(buffer, size);
}

std::string url_host(const std::string& url) {
  return internal::lower_case(Url(url).part(CURLUPART_HOST));
}

}  // namespace r2router::llm
