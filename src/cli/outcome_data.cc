#include "cli/outcome_data.h"

#include <CLI/CLI.hpp>

#include "cli/output.h"

namespace r2router::cli {

void add_outcome_options(CLI::App& command, OutcomeSettings& settings) {
  command
      .add_option("--queries", settings.queries,
                  "Queries: query_id, query; optionally dataset, query_tokens. JSON lines, a JSON "
                  "array or CSV, plain or gzip")
      ->required()
      ->type_name("FILE");
  command
      .add_option(
          "--outcomes", settings.outcomes,
          "Outcomes: query_id, model, score, output_tokens; optionally budget, instruction. "
          "The same formats; may be the file of --queries")
      ->required()
      ->type_name("FILE");
  command.add_flag("--ignore-unknown-models", settings.ignore_unknown_models,
                   "Leave out outcomes of models whose name the pool has in another spelling, "
                   "which are an error otherwise");
  command
      .add_option("--dataset", settings.dataset, "Use only queries whose dataset begins with this")
      ->type_name("PREFIX");
  command
      .add_option("--embeddings", settings.embeddings,
                  "Embeddings from elsewhere: NumPy float32 or float64, a row for each query")
      ->type_name("FILE.npy");
  command
      .add_option("--holdout", settings.holdout,
                  "Keep one query in N, by a hash of its text, out of training and for evaluation; "
                  "0: none is kept out, and all are evaluated; default: as the checkpoint was "
                  "trained, or 5")
      ->type_name("N");
}

void add_cost_option(CLI::App& command, OutcomeSettings& settings) {
  command
      .add_option_function<std::string>(
          "--cost",
          [&settings](const std::string& name) { settings.cost = parse_cost_measure(name); },
          "What curves of score over cost measure costs in: usd; length, output tokens; or "
          "latency, "
          "seconds by the speeds in the pool")
      ->check(CLI::IsMember({"usd", "length", "latency"}))
      ->default_str("usd")
      ->type_name("MEASURE");
}

OutcomeData read_outcome_data(const OutcomeSettings& settings, const Pool& pool) {
  OutcomeData data{.table = read_outcomes(settings.queries, settings.outcomes, pool,
                                          {.ignore_unknown_models = settings.ignore_unknown_models,
                                           .log = print_warnings()})};
  data.table.cost_measure = settings.cost;
  if (!settings.embeddings.empty()) read_embeddings(settings.embeddings, data);
  return select_dataset(data, settings.dataset, settings.queries);
}

std::uint32_t holdout_of(const OutcomeSettings& settings, const Config& config) {
  return settings.holdout ? *settings.holdout : trained_holdout(config, print_warnings());
}

}  // namespace r2router::cli
