// A program outside the project: it knows the installed headers and library only.
// Usage: consumer [CHECKPOINT_FOLDER]
#include <cmath>
#include <cstddef>
#include <exception>
#include <iostream>
#include <memory>
#include <span>
#include <stop_token>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include <r2router/router.h>

namespace {

// A scorer and an encoder of the program's own.
class LengthEncoder final : public r2router::Encoder {
 public:
  std::size_t dimension() const override { return 1; }
  void embed(std::span<const std::string_view> texts, std::span<float> out,
             const std::stop_token&) const override {
    for (std::size_t i = 0; i < texts.size(); ++i) out[i] = static_cast<float>(texts[i].size());
  }
};

class LengthScorer final : public r2router::Scorer {
 public:
  std::size_t dimension() const override { return 1; }
  std::span<const r2router::Pair> pairs() const override { return pairs_; }
  void predict(r2router::EmbeddingView embedding, r2router::Predictions& out) const override {
    const double length =
        std::visit([](auto numbers) { return static_cast<double>(numbers[0]); }, embedding);
    out.quality = {length < 20 ? 0.9 : 0.1, 0.5};
    out.tokens = {100, 100};
  }

 private:
  const std::vector<r2router::Pair> pairs_ = {{0, r2router::Budget()}, {1, r2router::Budget()}};
};

bool routes_by_own_parts() {
  r2router::RouterParts parts;
  parts.pool = {{.name = "short"}, {.name = "long"}};
  parts.scorer = std::make_shared<LengthScorer>();
  parts.encoder = std::make_shared<LengthEncoder>();
  const r2router::Router router(std::move(parts));
  const std::vector<r2router::Query> queries = {
      {.text = "a short text"}, {.text = "a text that is longer than that"}, {.text = ""}};
  const auto results = router.route(queries);
  return results[0].decision().model().name == "short" &&
         results[1].decision().model().name == "long" && !results[2].ok();
}

}  // namespace

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

    if (!routes_by_own_parts()) {
      std::cerr << "a router of own parts does not route by them\n";
      return 1;
    }

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
