// A program outside the project that uses all components: it answers, and evaluates.
// Usage: consumer_answer [CHECKPOINT_FOLDER]
#include <exception>
#include <iostream>
#include <string>

#include <r2router/llm/generate.h>
#include <r2router/outcomes.h>
#include <r2router/router.h>

int main(int argc, char** argv) {
  namespace llm = r2router::llm;
  try {
    const auto router = r2router::Router::from_pretrained(argc > 1 ? argv[1] : "");
    const auto decision = router.route_text("Who wrote Faust?");
    // No server listens on the discard port.
    const auto client =
        llm::make_openai_client({.base_url = "http://127.0.0.1:9/v1", .retry = {.max_retries = 0}});
    const auto completion = llm::generate(*client, router, "Who wrote Faust?", decision);
    std::cout << "answer: " << r2router::to_string(completion.failure->code) << '\n';
    // Errors of every component are the one type.
    try {
      r2router::read_queries("missing.jsonl");
    } catch (const r2router::Error& error) {
      std::cout << "outcomes: " << r2router::to_string(error.code()) << '\n';
      return 0;
    }
    std::cerr << "a missing file was read\n";
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
  }
  return 1;
}
