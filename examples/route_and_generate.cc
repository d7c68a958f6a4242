// Routes one prompt and calls the chosen model, by default through OpenRouter:
//
//     OPENROUTER_API_KEY=... route_and_generate "Solve the equation: 2x + 5 = 13"
//     route_and_generate "Solve the equation: 2x + 5 = 13" http://localhost:8000/v1
#include <iostream>

#include <r2router/llm/generate.h>
#include <r2router/router.h>

int main(int argc, char** argv) {
  const char* prompt = argc > 1 ? argv[1] : "Solve the equation: 2x + 5 = 13";
  const char* base_url = argc > 2 ? argv[2] : "https://openrouter.ai/api/v1";
  try {
    const auto router = r2router::Router::from_pretrained();
    const auto client = r2router::llm::make_openai_client(
        {.base_url = base_url, .api_key = r2router::llm::api_key_from_environment()});

    // At most one cent for all attempts. Fallbacks need the ranking.
    const auto decision =
        router.route_text(prompt, {.policy = {.max_cost_usd = 0.01}, .rank = true});
    std::cout << "Asking " << decision.model().name << " with a budget of "
              << decision.chosen.budget.to_string() << " tokens.\n";

    const auto completion =
        r2router::llm::generate(*client, router, prompt, decision,
                                {.on_text = [](auto text) { std::cout << text << std::flush; }});
    std::cout << "\n";
    if (!completion.ok()) {
      std::cerr << completion.failure->message << "\n";
      return 1;
    }
    std::cout << "Answered by " << completion.served_model << " at attempt "
              << completion.attempts.size() << " after " << completion.seconds << " s";
    if (completion.computed_usd) std::cout << ", for $" << *completion.computed_usd;
    std::cout << (completion.truncated ? "; the cap cut it off.\n" : ".\n");
  } catch (const r2router::Error& error) {
    std::cerr << error.what() << "\n";
    return 1;
  }
}
