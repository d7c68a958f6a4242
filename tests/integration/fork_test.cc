// fork() in a process whose clients and encoders have been used, with and without calls under way:
// a child must neither disturb the parent's connections nor hang on what the parent's threads held.
#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <stop_token>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "r2router/encoder.h"
#include "r2router/error.h"
#include "r2router/llm/client.h"
#include "r2router/llm/http_encoder.h"

#include "support/fault_server.h"
#include "support/process.h"

namespace r2router::testing {
namespace {

using Json = nlohmann::json;
using Steps = std::vector<Json>;

constexpr std::size_t kDimension = 8;

FaultServer& server() { return FaultServer::instance(); }

Json echo(double pause = 0) {
  return service({{"text", "{query}"}, {"dimension", kDimension}, {"pause", pause}});
}

/// A child, and what it found wrong: nothing, unless something is.
class Child {
 public:
  /// The child calls `body` and ends without running what is registered for the end of a process.
  explicit Child(const std::function<std::string()>& body) {
    if (::pipe2(pipe_.data(), O_CLOEXEC) != 0) throw std::runtime_error("no pipe");
    id_ = ::fork();
    if (id_ != 0) {
      ::close(pipe_[1]);
      return;
    }
    ::alarm(120);  // rather than for ever
    std::string problem;
    try {
      problem = body();
    } catch (const std::exception& error) {
      problem = error.what();
    }
    [[maybe_unused]] const ssize_t written = ::write(pipe_[1], problem.data(), problem.size());
    ::_exit(problem.empty() ? 0 : 1);
  }
  Child(Child&& other) noexcept
      : id_(std::exchange(other.id_, -1)), pipe_(std::exchange(other.pipe_, {-1, -1})) {}
  Child& operator=(Child&&) = delete;
  ~Child() {
    if (id_ > 0) result();
  }

  std::string result() {
    std::string problem;
    std::array<char, 4096> block{};
    for (ssize_t count = 0; (count = ::read(pipe_[0], block.data(), block.size())) > 0;) {
      problem.append(block.data(), static_cast<std::size_t>(count));
    }
    ::close(pipe_[0]);
    int status = 0;
    ::waitpid(std::exchange(id_, -1), &status, 0);
    if (WIFSIGNALED(status)) problem += "signal " + std::to_string(WTERMSIG(status));
    if (problem.empty() && status != 0) problem = "status " + std::to_string(WEXITSTATUS(status));
    return problem;
  }

 private:
  pid_t id_ = -1;
  std::array<int, 2> pipe_{-1, -1};
};

/// A client and an encoder of one server.
class Servers {
 public:
  Servers(const llm::Endpoint& endpoint, const std::shared_ptr<EmbeddingCache>& cache)
      : client_(llm::make_openai_client(endpoint)),
        encoder_(llm::make_http_encoder(
            endpoint,
            {.model = "m", .dimension = kDimension, .max_batch_texts = 1, .cache = cache})) {}

  llm::Completion ask(const std::string& query, std::function<void(std::string_view)> on_text = {},
                      std::stop_token cancel = {}) const {
    return client_->complete(
        {.model = "vendor/model", .messages = {{"user", query}}, .max_tokens = 100},
        {.deadline = std::chrono::steady_clock::now() + std::chrono::minutes(1),
         .on_text = std::move(on_text),
         .cancel = std::move(cancel)});
  }

  /// What is wrong with the answers to this query, which must be nobody else's.
  std::string check_completion(const std::string& query) const {
    return difference(ask(query), query);
  }

  std::string check_stream(const std::string& query) const {
    std::string text;
    const llm::Completion completion = ask(query, [&](std::string_view piece) { text += piece; });
    if (text != completion.text) return "pieces \"" + text + "\" of \"" + completion.text + '"';
    return difference(completion, query);
  }

  /// Embeddings of texts that nobody else embeds, and of one that is in the cache; by threads.
  std::string check_embeddings(const std::string& query) const {
    const std::vector<std::string> texts = {query + " a", "cached", query + " b"};
    const std::vector<std::string_view> views(texts.begin(), texts.end());
    std::vector<float> together(texts.size() * kDimension);
    encoder_->embed(views, together);
    for (std::size_t i = 0; i < texts.size(); ++i) {
      const std::vector<float> alone = other_encoder().embed_one(texts[i]);
      if (!std::equal(alone.begin(), alone.end(), together.begin() + i * kDimension)) {
        return "a wrong embedding of " + texts[i];
      }
    }
    return {};
  }

  std::string check_all(const std::string& query) const {
    std::string problem = check_completion(query + ", first");
    if (problem.empty()) problem = check_stream(query + ", second");
    if (problem.empty()) problem = check_embeddings(query);
    if (problem.empty()) problem = check_completion(query + ", third");
    return problem;
  }

  void set_other(const llm::Endpoint& endpoint) {
    other_ = llm::make_http_encoder(endpoint, {.model = "m", .dimension = kDimension});
  }

 private:
  static std::string difference(const llm::Completion& completion, const std::string& query) {
    if (completion.failure) return query + ": " + completion.failure->message;
    if (completion.text != query) return query + ": got \"" + completion.text + '"';
    return {};
  }

  const Encoder& other_encoder() const { return *other_; }

  std::shared_ptr<const llm::Client> client_;
  std::shared_ptr<const Encoder> encoder_, other_;
};

/// Over plain HTTP and over TLS, where one byte of a child's is enough to break a connection.
class ForkThreads : public ::testing::TestWithParam<const char*> {
 protected:
  llm::Endpoint endpoint_for(const Steps& steps) {
    const FaultServer::Listener listener = server().listen(GetParam());
    const bool tls = GetParam() != std::string("http");
    path_ = server().path(std::vector<Steps>{steps});
    return {
        .base_url = (tls ? "https://127.0.0.1:" : "http://127.0.0.1:") + listener.port + path_,
        .timeouts = {.connect = 60, .first_byte = 60, .idle = 60},
        .ca_file = tls ? listener.ca_file : "",
    };
  }

  Servers servers_for(const Steps& steps) {
    const llm::Endpoint endpoint = endpoint_for(steps);
    Servers servers(endpoint, std::make_shared<EmbeddingCache>(1 << 20));
    servers.set_other(endpoint);
    return servers;
  }

  /// No connection has carried requests of two processes, whose numbers the queries begin with.
  void expect_connections_of_their_own() {
    std::map<int, std::set<std::string>> processes;
    for (const SeenRequest& request : server().requests(path_)) {
      if (!request.path.ends_with("/chat/completions")) continue;
      const std::string query = request.json().at("messages").back().at("content");
      processes[request.connection].insert(query.substr(0, query.find(':')));
    }
    EXPECT_FALSE(processes.empty());
    for (const auto& [connection, users] : processes) {
      EXPECT_EQ(users.size(), 1U) << *users.begin() << " and " << *users.rbegin()
                                  << " shared connection " << connection;
    }
  }

  std::string path_;
};

INSTANTIATE_TEST_SUITE_P(, ForkThreads, ::testing::Values("http", "good"), [](const auto& info) {
  return std::string(info.param == std::string("http") ? "Http" : "Https");
});

/// Names a query of this process.
std::string query_of(const std::string& process, const std::string& query) {
  return process + ": " + query;
}

constexpr int kChildren = 200;
constexpr int kChildrenAtOnce = 20;

/// Forks children that each check answers of their own; some fork a child first that does the same.
void expect_good_children(const Servers& servers) {
  for (int first = 0; first < kChildren; first += kChildrenAtOnce) {
    std::vector<Child> children;
    for (int i = first; i < first + kChildrenAtOnce; ++i) {
      children.emplace_back([&, i] {
        const std::string process = "child " + std::to_string(i);
        if (i % 4 == 3) {
          const std::string before = servers.check_completion(query_of(process, "before"));
          if (!before.empty()) return before;
          Child grandchild([&] { return servers.check_all(query_of("grand" + process, "query")); });
          const std::string after = servers.check_all(query_of(process, "query"));
          const std::string result = grandchild.result();
          return after.empty() ? result : after;
        }
        return servers.check_all(query_of(process, "query"));
      });
    }
    for (Child& child : children) EXPECT_EQ(child.result(), "");
  }
}

TEST_P(ForkThreads, ChildrenOfAParentAtRest) {
  const Servers servers = servers_for({echo()});
  EXPECT_EQ(servers.check_all(query_of("parent", "before")), "");
  expect_good_children(servers);
  EXPECT_EQ(servers.check_all(query_of("parent", "after")), "");
  expect_connections_of_their_own();
}

TEST_P(ForkThreads, ChildrenOfAParentAtWork) {
  const Servers servers = servers_for({echo()});
  const llm::Endpoint endpoint = endpoint_for({echo()});
  const auto cache = std::make_shared<EmbeddingCache>(1 << 14);
  std::vector<std::string> problems(4);
  {
    std::vector<std::jthread> threads;
    const auto again_and_again = [&](std::function<std::string(const std::string&)> check) {
      std::string& problem = problems[threads.size()];
      threads.emplace_back([&problem, check = std::move(check)](const std::stop_token& stop) {
        for (int i = 0; !stop.stop_requested() && problem.empty(); ++i) {
          problem = check(query_of("parent", std::to_string(i)));
        }
      });
    };
    again_and_again([&](const std::string& query) { return servers.check_all(query); });
    again_and_again([&](const std::string& query) { return servers.check_stream(query); });
    // A first connection each time, and with it TLS from its beginning.
    again_and_again([&](const std::string& query) {
      return Servers(endpoint, nullptr).check_completion(query);
    });
    // The cache's lock is held most of the time.
    again_and_again([&](const std::string& query) -> std::string {
      for (int i = 0; i < 1000; ++i) {
        const std::string text = query + std::to_string(i);
        std::array<float, kDimension> in{1, 2}, out{};
        cache->insert("m", text, in);
        if (cache->find("m", text, out) && in != out) return "the cache gave another embedding";
      }
      return {};
    });
    expect_good_children(servers);
    for (int i = 0; i < kChildren; ++i) {
      Child child([&]() -> std::string {
        std::array<float, kDimension> in{1, 2}, out{};
        cache->insert("m", "child", in);
        return cache->find("m", "child", out) && in == out ? "" : "the cache is broken";
      });
      EXPECT_EQ(child.result(), "");
    }
  }
  EXPECT_EQ(problems, std::vector<std::string>(4));
}

TEST_P(ForkThreads, AStreamOutlivesChildrenThatCallAndThatCallBack) {
  const Servers servers = servers_for({echo(0.002)});
  std::string query = query_of("parent", "long");
  for (int i = 0; i < 30; ++i) query += " word";
  const pid_t parent = ::getpid();
  std::vector<Child> children;
  const llm::Completion completion = servers.ask(query, [&](std::string_view) {
    if (::getpid() != parent) return;
    const std::string process = "child " + std::to_string(children.size());
    children.emplace_back([&] { return servers.check_all(query_of(process, "query")); });
  });
  EXPECT_EQ(completion.failure.has_value(), false) << completion.failure->message;
  EXPECT_EQ(completion.text, query);
  EXPECT_GE(children.size(), 30U);
  for (Child& child : children) EXPECT_EQ(child.result(), "");
  expect_connections_of_their_own();
}

TEST_P(ForkThreads, AForkInACallbackLeavesTheAnswerToTheParent) {
  const Servers servers = servers_for({echo(0.002)});
  std::string query = query_of("parent", "a few words that come piece by piece");
  EXPECT_EQ(servers.check_completion(query), "");
  pid_t child = -1;
  const llm::Completion completion = servers.ask(query, [&](std::string_view) {
    if (child < 0) child = ::fork();
  });
  if (child == 0) {  // it returned from the callback
    const bool good = completion.failure && completion.failure->code == ErrorCode::kConnection &&
                      completion.failure->message.find("forked") != std::string::npos &&
                      servers.check_all(query_of("child", "query")).empty();
    ::_exit(good ? 0 : 1);
  }
  EXPECT_FALSE(completion.failure);
  EXPECT_EQ(completion.text, query);
  EXPECT_EQ(servers.check_all(query_of("parent", "after")), "");
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
  expect_connections_of_their_own();
}

TEST_P(ForkThreads, AStopInAChildStopsNothingOfTheParents) {
  const Servers servers = servers_for({echo(0.002)});
  std::string query = query_of("parent", "query");
  for (int i = 0; i < 100; ++i) query += " word";
  std::stop_source stop;
  std::atomic<bool> begun = false;
  llm::Completion completion;
  std::jthread thread([&] {
    completion = servers.ask(
        query,
        [&](std::string_view) {
          begun = true;
          begun.notify_all();
        },
        stop.get_token());
    begun = true;
    begun.notify_all();
  });
  begun.wait(false);
  Child child([&] {
    // A new thread may take the place of the stack that the parent's call was on.
    std::jthread([] {
      std::array<char, 1 << 16> stack;
      stack.fill('x');
      asm volatile("" : : "r"(stack.data()) : "memory");
    }).join();
    stop.request_stop();
    return servers.check_all(query_of("child", "query"));
  });
  EXPECT_EQ(child.result(), "");
  thread.join();
  EXPECT_FALSE(completion.failure) << completion.failure->message;
  EXPECT_EQ(completion.text, query);
}

// A server notices that nobody wants its answer any more, although a child lives on.
TEST(ForkThreadsSockets, AChildDoesNotKeepThemOpen) {
  const int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  auto* const raw = reinterpret_cast<sockaddr*>(&address);
  socklen_t size = sizeof address;
  ASSERT_EQ(::bind(listener, raw, size), 0);
  ASSERT_EQ(::listen(listener, 1), 0);
  ::getsockname(listener, raw, &size);

  const Servers servers({.base_url = "http://127.0.0.1:" + std::to_string(ntohs(address.sin_port))},
                        nullptr);
  std::stop_source stop;
  std::jthread call([&] { servers.ask("query", {}, stop.get_token()); });
  const int connection = ::accept(listener, nullptr, nullptr);
  std::array<char, 4096> block{};
  ASSERT_GT(::read(connection, block.data(), block.size()), 0);

  std::array<int, 2> until{};
  ASSERT_EQ(::pipe2(until.data(), O_CLOEXEC), 0);
  Child child([&] {
    ::close(until[1]);
    char byte = 0;
    return ::read(until[0], &byte, 1) == 0 ? "" : "no end";
  });
  stop.request_stop();
  call.join();
  pollfd closed = {.fd = connection, .events = POLLIN, .revents = 0};
  while (::poll(&closed, 1, 10'000) == 1 && ::read(connection, block.data(), block.size()) > 0) {
  }
  EXPECT_NE(closed.revents & (POLLIN | POLLHUP), 0) << "the connection stayed open";
  ::close(until[1]);
  EXPECT_EQ(child.result(), "");
  for (const int descriptor : {until[0], connection, listener}) ::close(descriptor);
}

}  // namespace
}  // namespace r2router::testing
