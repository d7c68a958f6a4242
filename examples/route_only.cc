// Routes one prompt with the default checkpoint and prints the best options. Needs no server and no
// key.
#include <algorithm>
#include <iostream>

#include <r2router/router.h>

int main(int argc, char** argv) {
  const char* prompt = argc > 1 ? argv[1] : "Solve the equation: 2x + 5 = 13";
  try {
    const auto router = r2router::Router::from_pretrained();
    const auto decision = router.route_text(prompt, {.rank = true});

    std::cout << "Ask " << decision.model().name << " with a budget of "
              << decision.chosen.budget.to_string() << " tokens: expected quality "
              << decision.chosen.quality << ", expected cost $" << decision.chosen.cost_usd << "\n";

    std::cout << "The next best:\n";
    const auto count = std::min<std::size_t>(decision.ranking.size(), 4);
    for (std::size_t i = 1; i < count; ++i) {
      const auto& option = decision.ranking[i];
      std::cout << "  " << decision.model(option).name << ", " << option.budget.to_string()
                << ": quality " << option.quality << ", $" << option.cost_usd << "\n";
    }
  } catch (const r2router::Error& error) {
    std::cerr << error.what() << "\n";
    return 1;
  }
}
