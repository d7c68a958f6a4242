// Explains a decision: its ranking and runner-up, and the pairs that the constraints excluded.
#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <numbers>
#include <string>

#include "r2router/error.h"

#include "base/usd.h"
#include "route/candidates.h"

namespace r2router::internal {
namespace {

/// Calls visit(terms, pair, point, bits) for every pair, where bits are the constraints that it
/// violates.
template <typename Visit>
void for_each_miss(const DecisionTable& table, const Rule& rule, const Goal& goal,
                   const ExactSource& source, Visit visit) {
  std::vector<Point> points;
  for (const ModelRange& range : table.models()) {
    const Terms terms((*table.pool())[range.model], range.length_factor, rule);
    fill_points(table, range, rule, source, points);
    const bool excluded = !rule.excluded.empty() && rule.excluded[range.model];
    for (std::size_t i = range.begin; i < range.end; ++i) {
      const Point& point = points[i - range.begin];
      visit(terms, i, point,
            missed(terms, rule, goal, table.budgets()[i], point) |
                bit(Constraint::kModels) * excluded |
                bit(Constraint::kRequirements) * lacks(terms.model, rule));
    }
  }
}

std::array<std::uint32_t, kConstraints> count_left_out(const DecisionTable& table, const Rule& rule,
                                                       const Goal& goal,
                                                       const ExactSource& source) {
  std::array<std::uint32_t, kConstraints> counts = {};
  for_each_miss(table, rule, goal, source,
                [&](const Terms&, std::size_t, const Point&, unsigned bits) {
                  for (unsigned c = 0; c < kConstraints; ++c) counts[c] += bits >> c & 1U;
                });
  return counts;
}

/// Puts at each rank the option that would be chosen among it and all later ones. `options`: by
/// descending utility.
void order_ties(std::span<Option> options, const Goal& goal) {
  for (; options.size() > 1; options = options.subspan(1)) {
    const double least = options[0].utility - tie_width(goal.lambda, options[0].utility);
    std::size_t tied = 1;
    while (tied < options.size() && options[tied].utility >= least) ++tied;
    const std::size_t best = best_of(options.first(tied), goal);
    std::rotate(options.begin(), options.begin() + static_cast<std::ptrdiff_t>(best),
                options.begin() + static_cast<std::ptrdiff_t>(best) + 1);
  }
}

std::vector<Option> rank(const DecisionTable& table, const Rule& rule, const Goal& goal,
                         const ExactSource& source) {
  std::vector<Option> options;
  options.reserve(table.pairs().size());
  for_each_option(table, rule, goal, source,
                  [&](const Option& option) { options.push_back(option); });
  std::ranges::stable_sort(options, std::greater(), &Option::utility);
  if (!goal.rounded) order_ties(options, goal);
  for (Option& option : options) option = reported(option, goal);
  return options;
}

double win_probability(const Option& a, const Option& b, double lambda) {
  const double difference =
      (1 - lambda) * (a.quality - b.quality) - lambda * (a.cost_usd - b.cost_usd);
  const double spread = (1 - lambda) * std::hypot(a.quality_spread, b.quality_spread);
  if (spread == 0) return difference > 0 ? 1 : difference < 0 ? 0 : 0.5;
  return std::erfc(-difference / spread / std::numbers::sqrt2) / 2;
}

Explanation explain(const DecisionTable& table, const Rule& rule, const Choice& choice,
                    const ExactSource& source) {
  Explanation explanation;
  std::vector<Option> others;
  for_each_option(table, rule, choice.goal, source, [&](const Option& option) {
    if (option != choice.option) others.push_back(option);
  });
  if (!others.empty()) {
    const Option& second = others[best_of(others, choice.goal)];
    // In a tie the runner-up may be ahead by a rounding error.
    explanation.margin = std::max(0.0, choice.option.utility - second.utility);
    if (table.has_spreads()) {
      explanation.win_probability = win_probability(choice.option, second, choice.goal.lambda);
    }
    explanation.runner_up = reported(second, choice.goal);
  }
  Goal asked = choice.goal;
  asked.quality_floor = choice.quality_floor;
  explanation.left_out = count_left_out(table, rule, asked, source);
  return explanation;
}

}  // namespace

void throw_nothing_left(const DecisionTable& table, const Rule& rule, const Goal& goal,
                        const ExactSource& source) {
  double cheapest = kInfinity;
  std::string name;
  const ModelSpec* unknown = nullptr;  // a model excluded only by its unknown price
  for_each_miss(table, rule, goal, source,
                [&](const Terms& terms, std::size_t i, const Point& point, unsigned bits) {
                  const double cost = terms.worst_case_cost(
                      least_cap(table.budgets()[i], point.tokens, terms, rule));
                  if (bits != bit(Constraint::kMaxCost)) return;
                  if (unknown == nullptr && !terms.model.prices.unknown.empty()) {
                    unknown = &terms.model;
                  }
                  if (!(cost < cheapest)) return;
                  cheapest = cost;
                  const Pair& pair = table.pairs()[i];
                  name = (*table.pool())[pair.model].name + " at budget " + pair.budget.to_string();
                });
  if (!name.empty()) {
    throw Error(ErrorCode::kBudget,
                "no pair fits " + usd_text(rule.max_cost_usd) + ": the cheapest, " + name +
                    ", may cost up to " + usd_text(cheapest) +
                    "; raise the limit or shorten the query",
                {.option = "max_cost_usd"});
  }
  if (unknown != nullptr) {
    std::string components;
    for (const UnknownPrice& price : unknown->prices.unknown) {
      components += (components.empty() ? "" : ", ") + price.component + ": " + price.value;
    }
    throw Error(ErrorCode::kBudget,
                "no pair fits " + usd_text(rule.max_cost_usd) + ": the price of " + unknown->name +
                    " is unknown (" + components +
                    "), so no limit can be guaranteed; remove the limit, or remove components that "
                    "are never charged from the pool's \"unknown_prices\"",
                {.option = "max_cost_usd"});
  }
  const auto counts = count_left_out(table, rule, goal, source);
  if (counts[static_cast<std::size_t>(Constraint::kModels)] == table.pairs().size()) {
    throw Error(ErrorCode::kInvalidArgument,
                "no model is left to choose from: there are " +
                    std::to_string(table.models().size()) +
                    ", and allow, deny and available_only together exclude them all; loosen one "
                    "of them");
  }
  std::string message = "no pair is left to choose from: of " +
                        std::to_string(table.pairs().size()) + ", these constraints leave out";
  for (std::size_t c = 0; c < kConstraints; ++c) {
    if (counts[c] == 0) continue;
    message += (message.back() == 't' ? " " : ", ") + std::to_string(counts[c]) + " (" +
               std::string(to_string(static_cast<Constraint>(c))) + ")";
  }
  message += "; loosen one of them";
  if (counts[static_cast<std::size_t>(Constraint::kRequirements)] > 0) {
    std::string names;
    rule.requirements.for_each([&](Capability one) {
      names += (names.empty() ? "" : ", ") + std::string(to_string(one));
    });
    message += ". The query requires " + names +
               ", and a model has what its \"capabilities\" in the pool list; without that list it "
               "is taken to have all of them";
  }
  if (rule.max_latency_ms < kInfinity) {
    message +=
        ". A model's latency is known if the config gives its time_to_first_token_ms and "
        "output_tokens_per_second";
  }
  throw Error(ErrorCode::kInvalidArgument, message);
}

void add_details(const DecisionTable& table, const Rule& rule, const Choice& choice,
                 const RouteOptions& options, const Predictions& predictions, Decision& decision) {
  const KnownPredictions source(predictions);
  if (options.rank) decision.ranking = rank(table, rule, choice.goal, source);
  if (options.explain) decision.explanation = explain(table, rule, choice, source);
}

}  // namespace r2router::internal
