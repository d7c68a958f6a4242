#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <fstream>
#include <mutex>
#include <new>
#include <set>
#include <shared_mutex>

#include <curl/curl.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "r2router/version.h"

#include "base/fork_gate.h"
#include "base/unicode.h"
#include "llm/http/call.h"
#include "llm/http/endpoint.h"
#include "llm/http/transport.h"

namespace r2router::llm {
namespace {

using Seconds = std::chrono::duration<double>;

constexpr std::size_t kMaxIdleHandles = 64;
constexpr std::size_t kMaxHeaderBytes = std::size_t{256} << 10;

[[noreturn]] void fail(const std::string& message) {
  throw Error(ErrorCode::kInvalidArgument, message);
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

/// Host and port, for messages.
std::string check_url(const BaseUrl& base) {
  const std::string text = base.with("");
  const std::string expected =
      ": expected \"http://\" or \"https://\", a host, and optionally a port and a path, such as "
      "\"http://127.0.0.1:8000\"";
  const Url url(text);
  const std::string scheme = url.part(CURLUPART_SCHEME);
  // A key may have been pasted instead of the address, so show only known parts.
  if (!url.valid() || text.find("://") == text.npos)
    fail("the endpoint's address is not a URL" + expected);
  if (scheme != "http" && scheme != "https") {
    fail("the endpoint's address begins with \"" + scheme + "://\"" + expected);
  }
  if (!url.part(CURLUPART_USER).empty() || !url.part(CURLUPART_PASSWORD).empty()) {
    fail("the endpoint's address contains a user name or password: use api_key instead");
  }
  if (text.find('#') != text.npos) {
    fail("the endpoint's address contains \"#\", after which no path can be appended" + expected);
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
  fail(
      "the endpoint's proxy is not the URL of a proxy: expected \"http://\", \"https://\", "
      "\"socks5h://\" or another SOCKS scheme, a host and a port, such as "
      "\"http://127.0.0.1:3128\"");
}

void check_headers(const Endpoint& endpoint) {
  constexpr std::string_view kTokenCharacters =
      "!#$%&'*+-.^_`|~0123456789"
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
  for (const auto& [name, value] : endpoint.headers) {
    if (name.empty() || name.find_first_not_of(kTokenCharacters) != name.npos) {
      fail(
          "a header of the endpoint has a name that HTTP does not allow: expected letters, digits "
          "and \"-\", such as \"HTTP-Referer\"");
    }
    if (value.find_first_of(std::string("\r\n\0", 3)) != value.npos) {
      fail("the header " + name + " of the endpoint has a line break in its value: remove it");
    }
    if (!endpoint.api_key.empty() && internal::lower_case(name) == "authorization") {
      fail("the endpoint has both an api_key and an Authorization header: set one of them");
    }
  }
}

void check_positive(double value, const char* name) {
  if (value > 0) return;  // false for NaN
  fail(std::string(name) + " is " + std::to_string(value) +
       ": expected a number of seconds above 0");
}

void check_not_negative(double value, const char* name) {
  if (value >= 0 && std::isfinite(value)) return;
  fail(std::string(name) + " is " + std::to_string(value) +
       ": expected a number of seconds, 0 or more");
}

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

/// One transfer at a time, and its open connections. A separate multi handle lets other threads
/// wake the transfer up.
class Handle {
 public:
  Handle();
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
  ~Handle();

  CURLM* multi() const { return multi_; }
  CURL* easy() const { return easy_; }

  /// Inherited from a parent: its connections belong to the parent, and it must not be used.
  bool inherited() const { return inherited_; }
  void cut_off(int dead_socket);
  void close();

  // libcurl's callbacks.
  static curl_socket_t open_socket(void* self, curlsocktype purpose, curl_sockaddr* address);
  static int close_socket(void* self, curl_socket_t descriptor);

  bool in_use = true;  ///< by a transfer; guarded by Handles::mutex

 private:
  struct Socket {
    int descriptor;
    ino_t inode;  // in case libcurl closes one without a callback
  };

  CURLM* multi_;
  CURL* easy_;
  std::vector<Socket> sockets_;
  bool inherited_ = false;
  bool still_connected_ = false;  ///< to the parent's servers: must not be used any more
};

/// All handles of the process, in use or not. fork() and exit() affect all of them. Never
/// destroyed: transports may outlive static objects.
struct Handles {
  std::mutex mutex;
  std::set<Handle*> all;
};

Handles& handles() {
  static Handles& instance = *new Handles;
  return instance;
}

// In a child, connections still belong to the parent: reading or writing a single byte would
// corrupt the parent's answers. Replaces their sockets by an unconnected one. Then the handles
// cannot reach a server, and a server notices when the parent closes a connection.
void leave_connections_to_parent() {
  const int dead = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  for (Handle* handle : handles().all) handle->cut_off(dead);
  if (dead >= 0) ::close(dead);
}

// While libcurl and OpenSSL still work.
void end_transfers() {
  end_calls();
  const std::lock_guard lock(handles().mutex);
  for (Handle* handle : handles().all) {
    if (!handle->in_use) handle->close();
  }
}

/// libcurl's global state; thread-safe since 7.84.
void initialise_curl() {
  const std::shared_lock behind(internal::fork_gate);
  static const CURLcode result = [] {
    handles();
    pthread_atfork(nullptr, nullptr, &leave_connections_to_parent);
    const CURLcode code = curl_global_init(CURL_GLOBAL_DEFAULT);
    std::atexit(&end_transfers);  // last registered, first called: before OpenSSL's own
    return code;
  }();
  if (result != CURLE_OK) throw Error(ErrorCode::kUnsupported, "libcurl cannot be initialised");
}

Handle::Handle() {
  const std::shared_lock behind(internal::fork_gate);
  multi_ = curl_multi_init();
  easy_ = curl_easy_init();
  try {
    if (multi_ == nullptr || easy_ == nullptr) throw std::bad_alloc();
    const std::lock_guard lock(handles().mutex);
    handles().all.insert(this);
  } catch (...) {
    close();
    throw;
  }
}

Handle::~Handle() {
  const std::shared_lock behind(internal::fork_gate);
  {
    const std::lock_guard lock(handles().mutex);
    handles().all.erase(this);
  }
  close();
}

void Handle::close() {
  CURL* const easy = std::exchange(easy_, nullptr);
  CURLM* const multi = std::exchange(multi_, nullptr);
  if (still_connected_) return;
  curl_easy_cleanup(easy);
  if (multi != nullptr) curl_multi_cleanup(multi);
}

void Handle::cut_off(int dead_socket) {
  inherited_ = true;
  for (const Socket& socket : sockets_) {
    struct stat status {};
    if (::fstat(socket.descriptor, &status) != 0 || status.st_ino != socket.inode) continue;
    if (::dup3(dead_socket, socket.descriptor, O_CLOEXEC) < 0) still_connected_ = true;
  }
  sockets_.clear();
}

curl_socket_t Handle::open_socket(void* self, curlsocktype, curl_sockaddr* address) {
  const int descriptor =
      ::socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
  struct stat status {};
  if (descriptor < 0) return CURL_SOCKET_BAD;
  try {
    if (::fstat(descriptor, &status) == 0) {
      static_cast<Handle*>(self)->sockets_.push_back({descriptor, status.st_ino});
      return descriptor;
    }
  } catch (const std::bad_alloc&) {  // must not pass through libcurl
  }
  ::close(descriptor);
  return CURL_SOCKET_BAD;
}

int Handle::close_socket(void* self, curl_socket_t descriptor) {
  std::erase_if(static_cast<Handle*>(self)->sockets_,
                [&](const Socket& socket) { return socket.descriptor == descriptor; });
  return ::close(descriptor);
}

/// Releases what OpenSSL has stored for the calling thread, at the end of a call. Otherwise a
/// thread releases it when it ends, and crashes if that coincides with OpenSSL's own cleanup at
/// exit, which does not wait for threads.
class OpenSslThread {
 public:
  OpenSslThread() = default;
  OpenSslThread(const OpenSslThread&) = delete;
  OpenSslThread& operator=(const OpenSslThread&) = delete;
  ~OpenSslThread() {
    const std::shared_lock behind(internal::fork_gate);
    // Only libcurl links OpenSSL, and it may have been built with another TLS library.
    static const auto stop =
        reinterpret_cast<void (*)()>(::dlsym(RTLD_DEFAULT, "OPENSSL_thread_stop"));
    if (stop != nullptr) stop();
  }
};

Failure cancelled(const std::string& server) {
  return {.code = ErrorCode::kCancelled, .message = "the call to " + server + " was cancelled"};
}

/// One request in progress: the target of libcurl's callbacks, and why it was stopped.
class Transfer {
 public:
  Transfer(Handle& handle, const Request& request, const std::stop_token& cancel,
           const Endpoint& endpoint, const std::string& server)
      : handle_(handle), request_(request), cancel_(cancel), endpoint_(endpoint), server_(server) {}
  Transfer(const Transfer&) = delete;
  Transfer& operator=(const Transfer&) = delete;
  /// libcurl never keeps a reference to this transfer.
  ~Transfer() {
    const std::shared_lock behind(internal::fork_gate);
    curl_multi_remove_handle(handle_.multi(), handle_.easy());
    curl_easy_reset(handle_.easy());
  }

  Response run();

 private:
  template <typename Value>
  void set(CURLoption option, Value value) {
    const CURLcode result = curl_easy_setopt(handle_.easy(), option, value);
    if (result == CURLE_OUT_OF_MEMORY) throw std::bad_alloc();
    if (result != CURLE_OK) {
      throw Error(ErrorCode::kUnsupported,
                  std::string("this libcurl cannot be used: ") + curl_easy_strerror(result));
    }
  }
  void set_up();
  /// Waits for the end. Returns libcurl's result, or stops the transfer.
  CURLcode drive();
  /// The time at which waiting ends, and why.
  Clock::time_point next_limit(std::string& meaning) const;
  void give_up(ErrorCode code, std::string message);
  void report(CURLcode result);

  void take_header(std::string_view line);
  bool take_body(std::string_view piece);
  bool hand_over(std::string_view piece);
  std::size_t give_body(char* buffer, std::size_t size);

  static int on_connected(void* self, char*, char*, int, int);
  static std::size_t on_header(char* data, std::size_t, std::size_t size, void* self);
  static std::size_t on_body(char* data, std::size_t, std::size_t size, void* self);
  static std::size_t on_upload(char* buffer, std::size_t, std::size_t size, void* self);

  Handle& handle_;
  const Request& request_;
  const std::stop_token& cancel_;
  const Endpoint& endpoint_;
  const std::string& server_;
  HeaderLines headers_;
  Response response_;
  Clock::time_point start_ = Clock::now();
  Clock::time_point last_byte_;  // of the answer, if any
  std::size_t uploaded_ = 0, header_bytes_ = 0, body_bytes_ = 0;
  bool stopped_ = false;  // on_body returned false
  std::exception_ptr thrown_;
  /// Held while libcurl works: it and OpenSSL have internal locks.
  std::shared_lock<internal::ForkGate> working_{internal::fork_gate, std::defer_lock};
  char error_[CURL_ERROR_SIZE] = {};
};

Response Transfer::run() {
  set_up();
  const CURLcode result = drive();
  if (thrown_) std::rethrow_exception(thrown_);
  if (!response_.failure && !stopped_ && result != CURLE_OK) report(result);
  if (response_.failure) {
    response_.failure->http_status = response_.status;
    response_.failure->message = redact(std::move(response_.failure->message), endpoint_.api_key);
  }
  response_.seconds = Seconds(Clock::now() - start_).count();
  return std::move(response_);
}

void Transfer::set_up() {
  for (const auto& [name, value] : endpoint_.headers) headers_.add(name, value);
  for (const auto& [name, value] : request_.headers) headers_.add(name, value);
  if (!endpoint_.api_key.empty()) {
    headers_.add("Authorization", "Bearer " + endpoint_.api_key.reveal());
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
  set(CURLOPT_OPENSOCKETFUNCTION, &Handle::open_socket);
  set(CURLOPT_OPENSOCKETDATA, static_cast<void*>(&handle_));
  set(CURLOPT_CLOSESOCKETFUNCTION, &Handle::close_socket);
  set(CURLOPT_CLOSESOCKETDATA, static_cast<void*>(&handle_));
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
    set(CURLOPT_READFUNCTION, &Transfer::on_upload);
    set(CURLOPT_READDATA, static_cast<void*>(this));
  }
  set(CURLOPT_PREREQFUNCTION, &Transfer::on_connected);
  set(CURLOPT_PREREQDATA, static_cast<void*>(this));
  set(CURLOPT_HEADERFUNCTION, &Transfer::on_header);
  set(CURLOPT_HEADERDATA, static_cast<void*>(this));
  set(CURLOPT_WRITEFUNCTION, &Transfer::on_body);
  set(CURLOPT_WRITEDATA, static_cast<void*>(this));
}

CURLcode Transfer::drive() {
  CURLM* const multi = handle_.multi();
  if (curl_multi_add_handle(multi, handle_.easy()) != CURLM_OK) throw std::bad_alloc();
  const std::stop_callback wake(cancel_, [multi] { curl_multi_wakeup(multi); });
  for (;;) {
    if (cancel_.stop_requested()) {
      response_.failure = cancelled(server_);
      return CURLE_OK;
    }
    std::string meaning;
    const Clock::time_point limit = next_limit(meaning);
    const Clock::time_point now = Clock::now();
    if (now >= limit) {
      give_up(ErrorCode::kTimeout, meaning);
      return CURLE_OK;
    }
    const auto wait = std::chrono::ceil<std::chrono::milliseconds>(
        std::min<Clock::duration>(limit - now, std::chrono::minutes(1)));
    curl_multi_poll(multi, nullptr, 0, static_cast<int>(wait.count()), nullptr);
    int running = 0;
    working_.lock();
    const CURLMcode result = curl_multi_perform(multi, &running);
    working_.unlock();
    if (result != CURLM_OK) {
      give_up(ErrorCode::kConnection, "libcurl failed in the transfer with " + server_);
      return CURLE_OK;
    }
    if (running == 0) {
      int left = 0;
      const CURLMsg* const message = curl_multi_info_read(multi, &left);
      return message != nullptr ? message->data.result : CURLE_OK;
    }
  }
}

Clock::time_point Transfer::next_limit(std::string& meaning) const {
  const Timeouts& timeouts = endpoint_.timeouts;
  const auto after = [](Clock::time_point begin, double seconds) {
    // Effectively never, but without overflow.
    return begin + std::chrono::duration_cast<Clock::duration>(Seconds(std::min(seconds, 1e8)));
  };
  Clock::time_point limit;
  if (response_.answered) {
    limit = after(last_byte_, timeouts.idle);
    meaning = server_ + " sent nothing for " + shown(timeouts.idle) +
              " in the middle of its answer (the limit Timeouts::idle)";
  } else {
    limit = after(start_, timeouts.first_byte);
    meaning = server_ + " did not start to answer within " + shown(timeouts.first_byte) +
              " (the limit Timeouts::first_byte)";
  }
  if (request_.deadline < limit) {
    limit = request_.deadline;
    meaning = "the call's deadline expired while " + server_ +
              (response_.answered ? " was answering" : " had not started to answer") +
              ": allow more time, or a shorter answer";
  }
  return limit;
}

void Transfer::give_up(ErrorCode code, std::string message) {
  response_.failure = Failure{.code = code, .message = std::move(message)};
}

void Transfer::report(CURLcode result) {
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

void Transfer::take_header(std::string_view line) {
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
    curl_easy_getinfo(handle_.easy(), CURLINFO_RESPONSE_CODE, &status);
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

bool Transfer::take_body(std::string_view piece) {
  last_byte_ = Clock::now();
  body_bytes_ += piece.size();
  if (body_bytes_ > endpoint_.max_response_bytes) {
    give_up(ErrorCode::kBadResponse, "the answer of " + server_ + " is longer than " +
                                         std::to_string(endpoint_.max_response_bytes) +
                                         " bytes (the limit Endpoint::max_response_bytes)");
    return false;
  }
  if (request_.on_body && response_.status >= 200 && response_.status < 300) {
    stopped_ = !hand_over(piece);
    return !stopped_;
  }
  response_.body += piece;
  return true;
}

// The reader's code runs outside the fork gate: it may wait for a thread that forks, or fork
// itself.
bool Transfer::hand_over(std::string_view piece) {
  struct InFrontOfGate {
    std::shared_lock<internal::ForkGate>& gate;
    explicit InFrontOfGate(std::shared_lock<internal::ForkGate>& held) : gate(held) {
      gate.unlock();
    }
    ~InFrontOfGate() { gate.lock(); }
  };
  bool more = false;
  {
    const InFrontOfGate in_front(working_);
    more = request_.on_body(piece);
  }
  if (more && handle_.inherited()) {
    give_up(ErrorCode::kConnection, "the process forked while " + server_ +
                                        " was answering: only the parent gets the answer");
    return false;
  }
  return more;
}

std::size_t Transfer::give_body(char* buffer, std::size_t size) {
  const std::size_t count = std::min(size, request_.body.size() - uploaded_);
  std::memcpy(buffer, request_.body.data() + uploaded_, count);
  uploaded_ += count;
  return count;
}

// The request itself is sent next; data before it was for TLS or a proxy.
int Transfer::on_connected(void* self, char*, char*, int, int) {
  static_cast<Transfer*>(self)->response_.sent = true;
  return CURL_PREREQFUNC_OK;
}

// Exceptions must not pass through libcurl, which is written in C.
std::size_t Transfer::on_header(char* data, std::size_t, std::size_t size, void* self) {
  auto& transfer = *static_cast<Transfer*>(self);
  try {
    transfer.take_header({data, size});
  } catch (...) {
    transfer.thrown_ = std::current_exception();
  }
  return transfer.thrown_ || transfer.response_.failure ? 0 : size;
}

std::size_t Transfer::on_body(char* data, std::size_t, std::size_t size, void* self) {
  auto& transfer = *static_cast<Transfer*>(self);
  try {
    return transfer.take_body({data, size}) ? size : CURL_WRITEFUNC_ERROR;
  } catch (...) {
    transfer.thrown_ = std::current_exception();
    return CURL_WRITEFUNC_ERROR;
  }
}

std::size_t Transfer::on_upload(char* buffer, std::size_t, std::size_t size, void* self) {
  return static_cast<Transfer*>(self)->give_body(buffer, size);
}

class CurlTransport final : public Transport {
 public:
  explicit CurlTransport(const Endpoint& endpoint)
      : endpoint_(endpoint), server_(check_url(BaseUrl(endpoint.base_url))) {
    check_headers(endpoint_);
    if (!endpoint_.proxy.empty()) check_proxy(endpoint_.proxy);
    check_positive(endpoint_.timeouts.connect, "Timeouts::connect");
    check_positive(endpoint_.timeouts.first_byte, "Timeouts::first_byte");
    check_positive(endpoint_.timeouts.idle, "Timeouts::idle");
    check_positive(endpoint_.timeouts.total, "Timeouts::total");
    check_not_negative(endpoint_.retry.first_delay, "RetryPolicy::first_delay");
    check_not_negative(endpoint_.retry.max_delay, "RetryPolicy::max_delay");
    check_not_negative(endpoint_.retry.max_retry_after, "RetryPolicy::max_retry_after");
    if (!endpoint_.ca_file.empty() && !std::ifstream(endpoint_.ca_file)) {
      throw Error(ErrorCode::kNotFound,
                  "the file of trusted authorities cannot be read: set ca_file to a PEM file",
                  {.file = endpoint_.ca_file});
    }
    initialise_curl();
  }

  Response send(const Request& request) const override {
    const Call call(request.cancel);
    // At the end of the process libcurl may no longer be usable.
    if (call.token().stop_requested()) return {.failure = cancelled(server_)};
    const OpenSslThread openssl;  // released before the call ends: exit() waits for that
    std::unique_ptr<Handle> handle = take();
    Response response = Transfer(*handle, request, call.token(), endpoint_, server_).run();
    give_back(std::move(handle));
    return response;
  }

 private:
  std::unique_ptr<Handle> take() const {
    while (std::unique_ptr<Handle> handle = take_idle()) {
      if (!handle->inherited()) return handle;
    }
    return std::make_unique<Handle>();
  }

  // Last in, first out: the connection used last is the most likely to be still open.
  std::unique_ptr<Handle> take_idle() const {
    const std::shared_lock behind(internal::fork_gate);
    const std::lock_guard lock(handles().mutex);
    if (idle_.empty()) return nullptr;
    std::unique_ptr<Handle> handle = std::move(idle_.back());
    idle_.pop_back();
    handle->in_use = true;
    return handle;
  }

  void give_back(std::unique_ptr<Handle> handle) const {
    const std::shared_lock behind(internal::fork_gate);
    const std::lock_guard lock(handles().mutex);
    if (idle_.size() >= kMaxIdleHandles) return;
    handle->in_use = false;
    idle_.push_back(std::move(handle));
  }

  const Endpoint endpoint_;
  const std::string server_;
  mutable std::vector<std::unique_ptr<Handle>> idle_;  // guarded by Handles::mutex
};

}  // namespace

const std::string* find_header(const Headers& headers, std::string_view name) {
  const auto found =
      std::ranges::find_if(headers, [&](const auto& header) { return header.first == name; });
  return found == headers.end() ? nullptr : &found->second;
}

std::shared_ptr<const Transport> make_transport(const Endpoint& endpoint) {
  return std::make_shared<CurlTransport>(endpoint);
}

std::string url_host(const std::string& url) {
  return internal::lower_case(Url(url).part(CURLUPART_HOST));
}

}  // namespace r2router::llm
