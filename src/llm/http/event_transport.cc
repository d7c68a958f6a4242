// libcurl calls back from within its own functions, where it may not be called again. So its
// callbacks only store what has arrived, and deliver() passes that on after libcurl has returned.
#include "llm/http/event_transport.h"

#include <algorithm>
#include <cstddef>
#include <deque>
#include <mutex>
#include <new>
#include <set>
#include <shared_mutex>
#include <string>
#include <utility>
#include <vector>

#include <sys/socket.h>

#include "base/fork_gate.h"

namespace r2router::llm {
namespace {

/// A call that holds more of a body than this is read no further until it has been passed on.
constexpr std::size_t kMostHeld = std::size_t{64} << 10;
/// libcurl's buffers of a transfer. The second is the least that it accepts.
constexpr long kReceiveBytes = 4 << 10, kSendBytes = 16 << 10;
constexpr std::size_t kMostIdleHandles = 256;
constexpr long kMostIdleConnections = 256;
/// How often the time limits of calls are checked.
constexpr std::chrono::milliseconds kLimitsInterval{100};

curl_socket_t open_socket(void*, curlsocktype, curl_sockaddr* address) {
  return ::socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

}  // namespace

class EventTransport::State {
 public:
  explicit State(EventLoop& loop);
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  ~State();

  std::unique_ptr<Call> start(std::shared_ptr<const CheckedEndpoint> endpoint, Request request,
                              Receiver& receiver);
  void act(curl_socket_t socket, int events);
  void on_timer();

 private:
  class Job;
  static constexpr Clock::time_point kNever = Clock::time_point::max();

  CURL* take_handle();
  void give_back(CURL* easy);
  /// Runs one of libcurl's functions that may call back.
  template <typename Function>
  void with_curl(Function function);
  /// Has the job's news delivered: at the end of the current event, or soon.
  void announce(Job& job);
  void deliver();
  void check_limits(Clock::time_point now);
  void set_timer();

  static int on_watch(CURL*, curl_socket_t socket, int what, void* self, void*);
  static int on_timeout(CURLM*, long milliseconds, void* self);

  EventLoop& loop_;
  CURLM* multi_;
  std::vector<CURL*> idle_;
  std::set<Job*> jobs_;
  std::deque<Job*> news_;
  // When libcurl wants to be called, limits are checked, news are delivered; and the earliest.
  Clock::time_point curl_timer_ = kNever, limits_timer_ = kNever, news_timer_ = kNever,
                    timer_ = kNever;
};

class EventTransport::State::Job final : public EventTransport::Call, private Exchange {
 public:
  Job(State& state, CURL* easy, std::shared_ptr<const CheckedEndpoint> endpoint,
      std::unique_ptr<const Request> request, Receiver& receiver)
      : Exchange(easy, *request, *endpoint),
        state_(state),
        endpoint_(std::move(endpoint)),
        request_(std::move(request)),
        receiver_(receiver) {
    set_up();
    set(CURLOPT_PRIVATE, static_cast<void*>(this));
    set(CURLOPT_OPENSOCKETFUNCTION, &open_socket);
    // Each of thousands of streams has both until its end.
    set(CURLOPT_BUFFERSIZE, kReceiveBytes);
    set(CURLOPT_UPLOAD_BUFFERSIZE, kSendBytes);
    if (curl_multi_add_handle(state_.multi_, easy) != CURLM_OK) throw std::bad_alloc();
    state_.jobs_.insert(this);
  }

  ~Job() override {
    if (gone_ != nullptr) *gone_ = true;
    state_.jobs_.erase(this);
    std::erase(state_.news_, this);
    state_.with_curl([&] {
      curl_multi_remove_handle(state_.multi_, easy());
      state_.give_back(easy());
    });
  }

  void pause() override { paused_ = true; }

  void resume() override {
    paused_ = false;
    restart_idle();
    state_.announce(*this);
  }

  bool sent() const override { return response().sent; }

  /// Ends the job if it is past its time limit.
  void check_limit(Clock::time_point now) {
    if (ended_ || (paused_ && now < request_->deadline) || now < next_limit(nullptr)) return;
    std::string meaning;
    next_limit(&meaning);
    give_up(ErrorCode::kTimeout, std::move(meaning));
    curl_multi_remove_handle(state_.multi_, easy());
    finish(CURLE_OK);
  }

  void finish(CURLcode result) {
    ended_ = true;
    result_ = result;
    state_.announce(*this);
  }

  /// Passes on what has arrived. The job may be destroyed meanwhile.
  void deliver() {
    if (paused_) return;
    const Watch watch(*this);
    if ((ended_ || !held_.empty()) && response().answered && !std::exchange(headed_, true)) {
      receiver_.on_head(response());
      if (watch.gone) return;
    }
    if (!held_.empty() && !paused_) {
      const std::string piece = std::exchange(held_, {});
      receiver_.on_body(piece);
      if (watch.gone) return;
    }
    if (!held_.empty() || paused_) return;
    if (ended_) {
      receiver_.on_end(end(result_));
    } else if (std::exchange(stalled_, false)) {
      state_.with_curl([&] { curl_easy_pause(easy(), CURLPAUSE_CONT); });
    }
  }

 private:
  /// Notices the end of a job that is being delivered.
  struct Watch {
    explicit Watch(Job& watched) : job(watched) { job.gone_ = &gone; }
    Watch(const Watch&) = delete;
    Watch& operator=(const Watch&) = delete;
    ~Watch() {
      if (!gone) job.gone_ = nullptr;
    }
    Job& job;
    bool gone = false;
  };

  Take take_answer(std::string_view piece) override {
    if (paused_ || held_.size() >= kMostHeld) {
      stalled_ = true;
      return Take::kPause;
    }
    held_ += piece;
    state_.announce(*this);
    return Take::kMore;
  }

  State& state_;
  const std::shared_ptr<const CheckedEndpoint> endpoint_;
  const std::unique_ptr<const Request> request_;
  Receiver& receiver_;
  std::string held_;      // of the body, not yet passed on
  bool headed_ = false;   // on_head() was called
  bool paused_ = false;   // by the receiver
  bool stalled_ = false;  // libcurl holds a piece that was not taken
  bool ended_ = false;
  CURLcode result_ = CURLE_OK;
  bool* gone_ = nullptr;  // of the Watch of deliver()
};

EventTransport::State::State(EventLoop& loop) : loop_(loop) {
  initialise_curl();
  multi_ = curl_multi_init();
  if (multi_ == nullptr) throw std::bad_alloc();
  curl_multi_setopt(multi_, CURLMOPT_SOCKETFUNCTION, &State::on_watch);
  curl_multi_setopt(multi_, CURLMOPT_SOCKETDATA, this);
  curl_multi_setopt(multi_, CURLMOPT_TIMERFUNCTION, &State::on_timeout);
  curl_multi_setopt(multi_, CURLMOPT_TIMERDATA, this);
  curl_multi_setopt(multi_, CURLMOPT_MAXCONNECTS, kMostIdleConnections);
}

EventTransport::State::~State() {
  for (CURL* easy : idle_) curl_easy_cleanup(easy);
  curl_multi_cleanup(multi_);
}

template <typename Function>
void EventTransport::State::with_curl(Function function) {
  const std::shared_lock working(internal::fork_gate);  // libcurl and OpenSSL have internal locks
  function();
}

std::unique_ptr<EventTransport::Call> EventTransport::State::start(
    std::shared_ptr<const CheckedEndpoint> endpoint, Request request, Receiver& receiver) {
  auto kept = std::make_unique<const Request>(std::move(request));
  std::unique_ptr<Call> call;
  with_curl([&] {
    CURL* const easy = take_handle();
    try {
      call = std::make_unique<Job>(*this, easy, std::move(endpoint), std::move(kept), receiver);
    } catch (...) {
      give_back(easy);
      throw;
    }
  });
  if (limits_timer_ == kNever) limits_timer_ = Clock::now() + kLimitsInterval;
  set_timer();
  return call;
}

CURL* EventTransport::State::take_handle() {
  CURL* easy = nullptr;
  if (idle_.empty()) {
    easy = curl_easy_init();
  } else {
    easy = idle_.back();
    idle_.pop_back();
  }
  if (easy == nullptr) throw std::bad_alloc();
  return easy;
}

void EventTransport::State::give_back(CURL* easy) {
  if (idle_.size() >= kMostIdleHandles) return curl_easy_cleanup(easy);
  curl_easy_reset(easy);
  idle_.push_back(easy);
}

void EventTransport::State::act(curl_socket_t socket, int events) {
  with_curl([&] {
    int running = 0;
    curl_multi_socket_action(multi_, socket, events, &running);
  });
  int left = 0;
  while (const CURLMsg* const message = curl_multi_info_read(multi_, &left)) {
    char* job = nullptr;
    curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &job);
    reinterpret_cast<Job*>(job)->finish(message->data.result);
  }
  deliver();
  set_timer();
}

void EventTransport::State::on_timer() {
  const Clock::time_point now = Clock::now();
  timer_ = kNever;
  if (news_timer_ <= now) news_timer_ = kNever;
  if (limits_timer_ <= now) {
    limits_timer_ = jobs_.empty() ? kNever : now + kLimitsInterval;
    check_limits(now);
  }
  if (curl_timer_ <= now) {
    curl_timer_ = kNever;
    return act(CURL_SOCKET_TIMEOUT, 0);
  }
  deliver();
  set_timer();
}

void EventTransport::State::check_limits(Clock::time_point now) {
  with_curl([&] {
    for (Job* job : jobs_) job->check_limit(now);
  });
}

void EventTransport::State::announce(Job& job) {
  if (std::ranges::find(news_, &job) == news_.end()) news_.push_back(&job);
  news_timer_ = std::min(news_timer_, Clock::now());
}

void EventTransport::State::deliver() {
  while (!news_.empty()) {
    Job* const job = news_.front();
    news_.pop_front();
    job->deliver();
  }
  news_timer_ = kNever;
}

void EventTransport::State::set_timer() {
  const Clock::time_point next = std::min({curl_timer_, limits_timer_, news_timer_});
  if (next == timer_ || next == kNever) return;
  timer_ = next;
  loop_.set_timer(next);
}

int EventTransport::State::on_watch(CURL*, curl_socket_t socket, int what, void* self, void*) {
  static_cast<State*>(self)->loop_.watch(socket, what == CURL_POLL_IN || what == CURL_POLL_INOUT,
                                         what == CURL_POLL_OUT || what == CURL_POLL_INOUT);
  return 0;
}

int EventTransport::State::on_timeout(CURLM*, long milliseconds, void* self) {
  auto& state = *static_cast<State*>(self);
  state.curl_timer_ =
      milliseconds < 0 ? kNever : Clock::now() + std::chrono::milliseconds(milliseconds);
  state.set_timer();
  return 0;
}

EventTransport::EventTransport(EventLoop& loop) : state_(std::make_unique<State>(loop)) {}
EventTransport::~EventTransport() = default;

std::unique_ptr<EventTransport::Call> EventTransport::start(
    std::shared_ptr<const CheckedEndpoint> endpoint, Request request, Receiver& receiver) {
  return state_->start(std::move(endpoint), std::move(request), receiver);
}

void EventTransport::on_socket(int socket, bool readable, bool writable, bool failed) {
  state_->act(socket, (readable ? CURL_CSELECT_IN : 0) | (writable ? CURL_CSELECT_OUT : 0) |
                          (failed ? CURL_CSELECT_ERR : 0));
}

void EventTransport::on_timer() { state_->on_timer(); }

}  // namespace r2router::llm
