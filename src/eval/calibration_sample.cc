// What calibrate() works on: the options of each query of a sample, and what they came to.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "r2router/error.h"
#include "r2router/eval/calibrate.h"
#include "r2router/eval/contenders.h"
#include "r2router/eval/router_evaluation.h"

#include "base/usd.h"

namespace r2router::eval {
namespace {

/// For each query all that may be chosen under the constraints.
std::vector<std::vector<Option>> rank_options(const Router& router, const OutcomeData& data,
                                              const Policy& base) {
  RouteOptions options{.policy = merge(base, {.objective = Objective::kBest}), .rank = true};
  options.policy.quality_fraction.reset();
  const std::vector<float> embeddings = embed(router, data);
  std::vector<std::vector<Option>> result;
  for (std::size_t row = 0; row < data.table.queries.size(); ++row) {
    const QueryRecord& query = data.table.queries[row];
    const QuerySize size{
        .input_tokens = query.input_tokens,
        .max_input_tokens = std::max(query.input_tokens,
                                     most_input_tokens(query.text, router.config().budget_prompt))};
    const auto embedding =
        std::span(embeddings).subspan(row * router.dimension(), router.dimension());
    result.push_back(router.route(embedding, options, size).ranking);
  }
  return result;
}

/// Finds what options came to.
class Outcomes {
 public:
  /// Both must outlive the object.
  Outcomes(const OutcomeTable& table, const Pool& pool) : table_(table), pool_(pool) {
    for (std::size_t i = 0; i < table.pairs.size(); ++i) {
      const Pair& pair = table.pairs[i];
      pairs_[{table.models[pair.model].name, pair.budget}] = i;
    }
  }

  /// Empty if one of them was not observed. Throws Error(kBadData) for an option that no query has
  /// an outcome of.
  std::optional<std::vector<RealisedOption>> of(std::size_t query,
                                                std::span<const Option> options) const {
    std::vector<RealisedOption> realised;
    for (const Option& option : options) {
      const std::size_t cell = table_.cell(query, pair_of(option));
      if (std::isnan(table_.scores[cell])) return std::nullopt;
      const double tokens = table_.output_tokens[cell];
      const bool cut_off = tokens > option.max_tokens;
      realised.push_back(
          {.cost_usd = cost_usd(pool_[option.model], table_.queries[query].input_tokens,
                                std::min<double>(tokens, option.max_tokens)),
           .quality = cut_off ? 0 : table_.scores[cell]});
    }
    return realised;
  }

 private:
  std::size_t pair_of(const Option& option) const {
    const ModelSpec& model = pool_[option.model];
    const auto found = pairs_.find({model.name, option.budget});
    if (found != pairs_.end()) return found->second;
    throw Error(ErrorCode::kBadData,
                "there are no outcomes of \"" + model.name + "\" at budget " +
                    option.budget.to_string() +
                    ", which may be chosen: add some, or leave the model out with \"deny\" in "
                    "the policy");
  }

  const OutcomeTable& table_;
  const Pool& pool_;
  std::map<std::pair<std::string_view, Budget>, std::size_t> pairs_;
};

std::string number(const char* format, double value) {
  char text[128];
  std::snprintf(text, sizeof text, format, value);
  return text;
}

template <typename Text>
std::string with_interval(const CalibratedFigure& figure, Text text) {
  return text(figure.value) + "  (" + text(figure.low) + " to " + text(figure.high) + ")";
}

}  // namespace

OutcomeData calibration_data(const OutcomeData& data, const Config& config,
                             std::optional<std::uint32_t> holdout, const LogCallback& log,
                             const std::string& file) {
  if (data.table.pairs.empty()) return data;
  const std::uint32_t kept_out = holdout ? *holdout : trained_holdout(config, log);
  OutcomeData part = kept_out > 0 ? select_part(data, kept_out, true) : data;
  if (part.table.queries.empty()) {
    throw Error(ErrorCode::kBadData,
                "none of the queries is one that a holdout of " + std::to_string(kept_out) +
                    " keeps out of training: give more, or a holdout of 0 if none was trained on",
                {.file = file});
  }
  part.table = as_trained(part.table, config);
  return part;
}

CalibrationSample sample_options(const Router& router, const OutcomeData& data, const Policy& base,
                                 const std::string& file) {
  CalibrationSample sample{.options = rank_options(router, data, base)};
  if (data.table.pairs.empty()) return sample;
  if (base.continuous.value_or(false)) {
    throw Error(ErrorCode::kInvalidArgument,
                "the policy is continuous, but there are no outcomes of budgets between the "
                "trained ones: leave out the outcomes, or \"continuous\" in the policy");
  }
  const Outcomes outcomes(data.table, router.pool());
  std::vector<std::vector<Option>> complete;
  for (std::size_t query = 0; query < sample.options.size(); ++query) {
    auto realised = outcomes.of(query, sample.options[query]);
    if (!realised) continue;
    complete.push_back(std::move(sample.options[query]));
    sample.realised.push_back(std::move(*realised));
  }
  sample.incomplete = sample.options.size() - complete.size();
  sample.options = std::move(complete);
  if (sample.options.empty()) {
    throw Error(ErrorCode::kBadData,
                "no query has an outcome of every (model, budget) pair that may be chosen for it: "
                "leave models out with \"deny\" in the policy",
                {.file = file});
  }
  return sample;
}

std::string to_text(const Calibration& calibration, std::size_t incomplete) {
  const bool by_price = calibration.kind == CalibratedSetting::kWillingnessToPay;
  const MeanFigures& predicted = calibration.predicted;
  std::string text = "Queries:            " + std::to_string(calibration.queries);
  if (incomplete > 0) text += "  (" + std::to_string(incomplete) + " more lack an outcome)";
  text += "\nFigures:            ";
  text += calibration.realised ? "realised, as the outcomes say\n" : "predicted\n";
  text += by_price ? "Willingness to pay: " : "Quality fraction:   ";
  const auto fraction = [](double value) { return number("%.4f", value); };
  const auto price = [](double value) { return usd_text(value, 6); };
  text += by_price ? with_interval(calibration.setting, price)
                   : with_interval(calibration.setting, fraction);
  text += by_price ? " for quality 1 instead of 0\n" : " of each query's best\n";
  const auto cost = [](double value) { return usd_text(1000 * value, 4); };
  text +=
      "Mean cost:          " + with_interval(calibration.cost_usd, cost) + " for 1,000 queries\n";
  if (calibration.realised) {
    text += "  as predicted:     " + cost(predicted.cost_usd);
    if (calibration.cost_usd.value > 0) {
      text += number(", %+.1f %%", 100 * (predicted.cost_usd / calibration.cost_usd.value - 1));
    }
    text += '\n';
  }
  text += "Mean quality:       " + with_interval(calibration.quality, fraction) + '\n';
  if (calibration.realised) {
    text += "  as predicted:     " + fraction(predicted.quality) + '\n';
  }
  const double best = calibration.best_quality;
  text += number("Best quality:       %.4f, ", best);
  return text + number("%.1f %% of it reached\n",
                       best > 0 ? 100 * calibration.quality.value / best : 100.0);
}

}  // namespace r2router::eval
