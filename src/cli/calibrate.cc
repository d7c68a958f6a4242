// r2-router calibrate: from a sample of queries and a target to a policy file.
#include "r2router/calibrate.h"

#include <algorithm>
#include <cstdio>
#include <memory>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include <CLI/CLI.hpp>

#include "r2router/outcomes.h"
#include "r2router/policy.h"
#include "r2router/router.h"

#include "cli/commands.h"
#include "cli/output.h"
#include "io/file.h"
#include "io/npy.h"

namespace r2router::cli {
namespace {

constexpr const char* kFooter = R"(
Examples:
  r2-router calibrate --queries queries.jsonl --target "$0.05/1k" --output cheap.json
  r2-router calibrate --queries queries.jsonl --target "95% of best" --output good.json
  r2-router calibrate --queries queries.jsonl --target "quality 0.7" --policy limits.json --output q.json
  r2-router route --policy cheap.json --query "..."

Targets are means over the queries, as they are predicted: a cost for a thousand queries (or for
one, "$0.00005"), a share of the quality that the best option of each query gives, or a quality. Of
the settings that meet the target the cheapest is taken, or for a cost the best. Intervals hold
95 % of bootstrap resamples of the queries.)";

struct Settings {
  std::string queries, embeddings, checkpoint_dir, policy, target, setting = "willingness-to-pay";
  std::string output;
  CalibrationOptions options;
};

/// For each query all that may be chosen under the constraints.
std::vector<std::vector<Option>> options_of_queries(const Settings& settings, const Router& router,
                                                    const RouteOptions& base) {
  const std::vector<Query> queries = read_queries(settings.queries);
  RouteOptions options = base;
  options.objective = Objective::kBest;
  options.lambda.reset();
  options.willingness_to_pay.reset();
  options.quality_fraction.reset();
  options.rank = true;
  std::vector<std::vector<Option>> result;
  if (settings.embeddings.empty()) {
    for (const Query& query : queries) {
      options.input_tokens = query.input_tokens;
      options.max_input_tokens = std::max(
          query.input_tokens, most_input_tokens(query.text, router.config().budget_prompt));
      result.push_back(router.route_text(query.text, options).ranking);
    }
    return result;
  }
  const io::NpyArray array = io::read_npy(settings.embeddings);
  if (array.rows != queries.size() || array.columns != router.dimension()) {
    throw Error(ErrorCode::kBadData,
                "the file has " + std::to_string(array.rows) + " rows of " +
                    std::to_string(array.columns) + " numbers: expected " +
                    std::to_string(router.dimension()) + " for each of the " +
                    std::to_string(queries.size()) + " queries of " + settings.queries,
                {.file = settings.embeddings});
  }
  std::visit(
      [&](const auto& values) {
        for (std::size_t row = 0; row < queries.size(); ++row) {
          options.input_tokens = queries[row].input_tokens;
          const auto embedding = std::span(values).subspan(row * array.columns, array.columns);
          result.push_back(router.route(embedding, options).ranking);
        }
      },
      array.values);
  return result;
}

std::string figure(const char* format, const CalibratedFigure& figure, double scale = 1) {
  char text[128];
  const auto number = [&](double value) {
    std::snprintf(text, sizeof text, format, scale * value);
    return std::string(text);
  };
  return number(figure.value) + "  (" + number(figure.low) + " to " + number(figure.high) + ")";
}

std::string report(const Calibration& calibration) {
  const bool by_price = calibration.kind == CalibratedSetting::kWillingnessToPay;
  std::string text = "Queries:            " + std::to_string(calibration.queries) + '\n';
  text += by_price ? "Willingness to pay: " : "Quality fraction:   ";
  text += figure(by_price ? "$%.6g" : "%.4f", calibration.setting);
  text += by_price ? " for quality 1 instead of 0\n" : " of each query's best\n";
  text +=
      "Mean cost:          " + figure("$%.4g", calibration.cost_usd, 1000) + " for 1,000 queries\n";
  text += "Mean quality:       " + figure("%.4f", calibration.quality) + '\n';
  char share[64];
  std::snprintf(
      share, sizeof share, "%.4f at most, %.1f %% of it reached\n", calibration.best_quality,
      calibration.best_quality > 0 ? 100 * calibration.quality.value / calibration.best_quality
                                   : 100.0);
  return text + "Best quality:       " + share;
}

void calibrate_policy(const Settings& settings) {
  const CalibrationTarget target = parse_target(settings.target);
  const RouteOptions base = settings.policy.empty() ? RouteOptions{} : load_policy(settings.policy);
  const Router router = Router::from_pretrained(settings.checkpoint_dir, {.log = print_warnings()});
  const Calibration calibration =
      calibrate(options_of_queries(settings, router, base), target, settings.options);
  io::write_file(settings.output, to_json(base, calibration));
  Output output;
  output.write(report(calibration) + "Policy:             " + settings.output + '\n');
  output.flush();
}

}  // namespace

void add_calibrate_command(CLI::App& app, int&) {
  CLI::App* command = app.add_subcommand(
      "calibrate", "Find the setting that meets a target, and keep it in a file");
  command->footer(kFooter);
  const auto settings = std::make_shared<Settings>();
  const auto text = [command](const char* name, std::string& value, const char* description,
                              const char* type) {
    return command->add_option(name, value, description)->type_name(type);
  };
  text("--queries", settings->queries,
       "A sample of queries, JSON lines (may be gzipped): query_id, query; optionally query_tokens",
       "FILE")
      ->required();
  text("--target", settings->target, "What to meet, see below", "TARGET")->required();
  text("--output", settings->output, "Policy file to write", "FILE.json")->required();
  text("--policy", settings->policy, "Policy whose constraints shall hold", "FILE.json");
  text(
      "--setting", settings->setting,
      "What to find: willingness-to-pay, the cheapest way to a mean; or fraction, the share of its "
      "best quality that every query gets",
      "NAME")
      ->check(CLI::IsMember({"willingness-to-pay", "fraction"}))
      ->capture_default_str();
  text("--embeddings", settings->embeddings,
       "Embeddings from elsewhere: NumPy float32 or float64, a row for each line of --queries",
       "FILE.npy");
  text("--checkpoint-dir", settings->checkpoint_dir,
       "Checkpoint folder; default: the one that came with r2-router", "DIR");
  command->add_option("--resamples", settings->options.resamples, "Resamples of the bootstrap")
      ->capture_default_str()
      ->type_name("N");
  command->add_option("--seed", settings->options.seed, "Seed of the bootstrap")
      ->capture_default_str()
      ->type_name("N");
  command->callback([settings] {
    settings->options.setting = settings->setting == "fraction"
                                    ? CalibratedSetting::kQualityFraction
                                    : CalibratedSetting::kWillingnessToPay;
    calibrate_policy(*settings);
  });
}

}  // namespace r2router::cli
