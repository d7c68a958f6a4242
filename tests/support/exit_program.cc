// A program that ends while calls are under way, in the way that its first argument names:
//   exit_program SCENARIO BASE_URL CA_FILE DIMENSION
// It prints "done", which is left in the buffer, and returns 7 from main(). Tests check that both
// arrive.
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <map>
#include <memory>
#include <stop_token>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <sys/wait.h>
#include <unistd.h>

#include "r2router/encoder.h"
#include "r2router/llm/client.h"
#include "r2router/llm/endpoint.h"
#include "r2router/llm/http_encoder.h"

// OpenSSL keeps state for each thread. One that ends after OpenSSL itself cannot free it any more.
extern "C" const char* __lsan_default_suppressions();
extern "C" const char* __lsan_default_suppressions() { return "leak:libcrypto.so\n"; }
extern "C" const char* __lsan_default_options();
extern "C" const char* __lsan_default_options() { return "print_suppressions=0"; }

// A thread that is ending while OpenSSL cleans up still releases that state.
extern "C" const char* __tsan_default_suppressions();
extern "C" const char* __tsan_default_suppressions() { return "race:libcrypto.so\n"; }

namespace {

namespace llm = r2router::llm;
using r2router::Encoder;
using r2router::ErrorCode;

constexpr int kStatus = 7;
const char* const* arguments = nullptr;

llm::Endpoint endpoint() { return {.base_url = arguments[2], .ca_file = arguments[3]}; }

std::size_t dimension() { return std::strtoul(arguments[4], nullptr, 10); }

std::shared_ptr<const llm::Client> make_client() { return llm::make_openai_client(endpoint()); }

std::shared_ptr<const Encoder> make_encoder() {
  return llm::make_http_encoder(
      endpoint(),
      {.model = "m", .dimension = dimension(), .max_batch_texts = 1, .max_concurrency = 4});
}

llm::Completion ask(const llm::Client& client, std::function<void(std::string_view)> on_text = {},
                    std::stop_token cancel = {}) {
  return client.complete(
      llm::ChatRequest{.model = "vendor/model", .messages = {{"user", "query"}}, .max_tokens = 100},
      llm::CallOptions{.deadline = std::chrono::steady_clock::now() + std::chrono::minutes(5),
                       .on_text = std::move(on_text),
                       .cancel = std::move(cancel)});
}

bool answers(const llm::Client& client) { return ask(client).text == "query"; }

bool embeds(const Encoder& encoder) {
  std::vector<float> out(2 * dimension());
  const std::vector<std::string_view> texts = {"one", "two"};
  encoder.embed(texts, out);
  return out[0] != 0 && out[dimension()] != 0;
}

/// Waits for a sign that a call has come as far as it should: the test creates this file.
void wait_for_file(const std::string& path) {
  while (::access(path.c_str(), F_OK) != 0) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
}

// Constructed before main() and destroyed after it.
std::shared_ptr<const llm::Client> global_client;
std::shared_ptr<const Encoder> global_encoder;
std::jthread global_thread;

/// Asks while static objects are destroyed: before the library's own end, or after it.
struct LastQuestion {
  bool armed = false;
  ~LastQuestion() {
    if (!armed) return;
    const llm::Completion completion = ask(*make_client());
    if (!completion.failure || completion.failure->code != ErrorCode::kCancelled) ::_exit(1);
  }
} last_question;

void detach(std::function<void()> work) { std::thread(std::move(work)).detach(); }

/// A child that uses what the parent has made, and ends as a program does.
int child_status(const std::function<bool()>& in_child) {
  const pid_t child = ::fork();
  if (child == 0) std::exit(in_child() ? kStatus : 1);
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

// Each returns whether it has come to the point at which the program is to end.
const std::map<std::string_view, std::function<bool()>> kScenarios = {
    {"idle-global",
     [] {
       global_client = make_client();
       global_encoder = make_encoder();
       return answers(*global_client) && embeds(*global_encoder);
     }},
    {"idle-function-static",
     [] {
       static const auto client = make_client();
       static const auto encoder = make_encoder();
       return answers(*client) && embeds(*encoder);
     }},
    {"never-destroyed",
     [] {
       static const auto& client = *new auto(make_client());  // no leak: it can be reached
       return answers(*client);
     }},
    {"stream",
     [] {
       global_client = make_client();
       static std::atomic<bool> begun = false;
       detach([] {
         ask(*global_client, [](std::string_view) {
           begun = true;
           begun.notify_all();
         });
       });
       begun.wait(false);
       return true;
     }},
    {"completion",
     [] {
       global_client = make_client();
       detach([] { ask(*global_client); });
       wait_for_file(arguments[5]);
       return true;
     }},
    {"embedding",
     [] {
       global_encoder = make_encoder();
       detach([] {
         try {
           embeds(*global_encoder);
         } catch (const r2router::Error& error) {
           if (error.code() != ErrorCode::kCancelled) ::_exit(1);
         }
       });
       wait_for_file(arguments[5]);
       return true;
     }},
    {"many-threads",
     [] {
       global_client = make_client();
       for (int i = 0; i < 8; ++i) detach([] { ask(*global_client); });
       wait_for_file(arguments[5]);
       return true;
     }},
    // Its destructor asks for a stop and waits.
    {"jthread",
     [] {
       global_client = make_client();
       global_thread =
           std::jthread([](const std::stop_token& stop) { ask(*global_client, {}, stop); });
       wait_for_file(arguments[5]);
       return true;
     }},
    {"exit-in-callback",
     [] {
       std::printf("done\n");
       ask(*make_client(), [](std::string_view) { std::exit(kStatus); });
       return false;
     }},
    {"late-call",
     [] {
       last_question.armed = true;
       return answers(*make_client());
     }},
    {"child-exits",
     [] {
       global_client = make_client();
       static std::atomic<bool> begun = false;
       static std::stop_source stop;
       detach([] {
         ask(
             *global_client,
             [](std::string_view) {
               begun = true;
               begun.notify_all();
             },
             stop.get_token());
       });
       begun.wait(false);
       return child_status([] { return stop.request_stop(); }) == kStatus;
     }},
    {"first-use",
     [] {
       std::jthread other([] { make_client(); });
       for (int i = 0; i < 8; ++i) {
         if (child_status([] { return answers(*make_client()); }) != kStatus) return false;
       }
       return true;
     }},
};

}  // namespace

int main(int, char** argv) {
  arguments = argv;
  if (!kScenarios.at(argv[1])()) return 1;
  std::printf("done\n");
  return kStatus;
}
