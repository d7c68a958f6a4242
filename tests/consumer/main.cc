// A program outside the project: it knows the installed headers and library only.
// Usage: consumer [CHECKPOINT_FOLDER]
#include <cmath>
#include <exception>
#include <iostream>
#include <vector>

#include <r2router/router.h>

int main(int argc, char** argv) {
  try {
    const std::string folder = argc > 1 ? argv[1] : r2router::Router::default_checkpoint_path();
    const auto router = r2router::Router::from_pretrained(folder);
    std::cout << "checkpoint: " << folder << '\n';

    const r2router::Decision from_text = router.route_text("Solve the equation: 2x + 5 = 13");
    std::cout << "text: " << from_text.model().name << ", " << from_text.chosen.budget.to_string()
              << '\n';

    const std::vector<float> embedding(router.dimension(),
                                       1 / std::sqrt(static_cast<float>(router.dimension())));
    const r2router::Decision from_embedding = router.route(embedding);
    std::cout << "embedding: " << from_embedding.model().name << ", "
              << from_embedding.chosen.budget.to_string() << '\n';

    // Errors cross the library's border as its own type.
    try {
      router.route(std::vector<float>(1));
    } catch (const r2router::Error& error) {
      std::cout << "error: " << r2router::to_string(error.code()) << '\n';
      return 0;
    }
    std::cerr << "an embedding of the wrong length was accepted\n";
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
  }
  return 1;
}
