#include <algorithm>
#include <cstdlib>
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

#include "base/fork_gate.h"
#include "llm/http/call.h"
#include "llm/http/exchange.h"
#include "llm/http/transport.h"

namespace r2router::llm {
namespace {

constexpr std::size_t kMaxIdleHandles = 64;

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

/// A request that the calling thread drives to its end.
class Transfer final : private Exchange {
 public:
  Transfer(Handle& handle, const Request& request, const std::stop_token& cancel,
           const CheckedEndpoint& endpoint)
      : Exchange(handle.easy(), request, endpoint), handle_(handle), cancel_(cancel) {}
  /// libcurl never keeps a reference to this transfer.
  ~Transfer() override {
    const std::shared_lock behind(internal::fork_gate);
    curl_multi_remove_handle(handle_.multi(), handle_.easy());
    curl_easy_reset(handle_.easy());
  }

  Response run();

 private:
  /// Waits for the end. Returns libcurl's result, or stops the transfer.
  CURLcode drive();
  Take take_answer(std::string_view piece) override;
  bool hand_over(std::string_view piece);

  Handle& handle_;
  const std::stop_token& cancel_;
  /// Held while libcurl works: it and OpenSSL have internal locks.
  std::shared_lock<internal::ForkGate> working_{internal::fork_gate, std::defer_lock};
};

Response Transfer::run() {
  set_up();
  set(CURLOPT_OPENSOCKETFUNCTION, &Handle::open_socket);
  set(CURLOPT_OPENSOCKETDATA, static_cast<void*>(&handle_));
  set(CURLOPT_CLOSESOCKETFUNCTION, &Handle::close_socket);
  set(CURLOPT_CLOSESOCKETDATA, static_cast<void*>(&handle_));
  return end(drive());
}

CURLcode Transfer::drive() {
  CURLM* const multi = handle_.multi();
  if (curl_multi_add_handle(multi, handle_.easy()) != CURLM_OK) throw std::bad_alloc();
  const std::stop_callback wake(cancel_, [multi] { curl_multi_wakeup(multi); });
  for (;;) {
    if (cancel_.stop_requested()) {
      response().failure = cancelled(server());
      return CURLE_OK;
    }
    std::string meaning;
    const Clock::time_point limit = next_limit(&meaning);
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
      give_up(ErrorCode::kConnection, "libcurl failed in the transfer with " + server());
      return CURLE_OK;
    }
    if (running == 0) {
      int left = 0;
      const CURLMsg* const message = curl_multi_info_read(multi, &left);
      return message != nullptr ? message->data.result : CURLE_OK;
    }
  }
}

Exchange::Take Transfer::take_answer(std::string_view piece) {
  if (!request().on_body) {
    response().body += piece;
    return Take::kMore;
  }
  return hand_over(piece) ? Take::kMore : Take::kStop;
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
    more = request().on_body(piece);
  }
  if (more && handle_.inherited()) {
    give_up(ErrorCode::kConnection, "the process forked while " + server() +
                                        " was answering: only the parent gets the answer");
    return false;
  }
  return more;
}

class CurlTransport final : public Transport {
 public:
  explicit CurlTransport(const Endpoint& endpoint) : endpoint_(endpoint) { initialise_curl(); }

  Response send(const Request& request) const override {
    const Call call(request.cancel);
    // At the end of the process libcurl may no longer be usable.
    if (call.token().stop_requested()) return {.failure = cancelled(endpoint_.server)};
    const OpenSslThread openssl;  // released before the call ends: exit() waits for that
    std::unique_ptr<Handle> handle = take();
    Response response = Transfer(*handle, request, call.token(), endpoint_).run();
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

  const CheckedEndpoint endpoint_;
  mutable std::vector<std::unique_ptr<Handle>> idle_;  // guarded by Handles::mutex
};

}  // namespace

// Thread-safe since 7.84.
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

const std::string* find_header(const Headers& headers, std::string_view name) {
  const auto found =
      std::ranges::find_if(headers, [&](const auto& header) { return header.first == name; });
  return found == headers.end() ? nullptr : &found->second;
}

std::shared_ptr<const Transport> make_transport(const Endpoint& endpoint) {
  return std::make_shared<CurlTransport>(endpoint);
}

}  // namespace r2router::llm
