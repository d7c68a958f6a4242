#include "r2router/eval/routerarena.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <unordered_map>

#include <nlohmann/json.hpp>

#include "r2router/error.h"
#include "r2router/eval/contenders.h"

#include "base/excerpt.h"
#include "data/left_out.h"
#include "data/table_file.h"

namespace r2router::eval {
namespace {

using io::JsonView;

constexpr double kUnscored = std::numeric_limits<double>::quiet_NaN();
constexpr std::uint64_t kMostTokens = 1000000000;

/// One line, with the index of its query and of its model in the pool.
struct Row {
  std::size_t query = 0;
  std::uint32_t model = 0;
  CachedAnswer answer;
  double score = kUnscored;
  std::string file;
  std::uint64_t line = 0;
};

/// "ArcMMLU_655" is number 655 of ArcMMLU.
std::string dataset_of(const std::string& index) {
  const std::size_t end = index.rfind('_');
  return end == std::string::npos ? index : index.substr(0, end);
}

const ModelSpec* find_model(const Pool& pool, const std::string& name) {
  const auto is = [&](auto field) {
    return std::find_if(pool.begin(), pool.end(),
                        [&](const ModelSpec& model) { return model.*field == name; });
  };
  auto found = is(&ModelSpec::name);
  if (found == pool.end()) found = is(&ModelSpec::openrouter_id);
  return found == pool.end() ? nullptr : &*found;
}

CachedAnswer read_answer(const JsonView& object) {
  CachedAnswer answer;
  answer.exists = true;
  if (const JsonView text = object["generated_answer"]; text.present() && !text.is_null()) {
    answer.text = text.string("the answer, a string");
  }
  answer.success = object["success"].boolean();
  const JsonView usage = object["token_usage"];
  if (!usage.present() || usage.is_null()) return answer;
  const auto tokens = [&](const char* name) {
    return static_cast<std::int64_t>(
        usage[name].integer(0, kMostTokens, "a number of tokens, 0 or more"));
  };
  answer.input_tokens = tokens("input_tokens");
  answer.output_tokens = tokens("output_tokens");
  return answer;
}

double cached_score(const JsonView& object) {
  const JsonView evaluation = object["evaluation_result"];
  if (!evaluation.present() || evaluation.is_null()) return kUnscored;
  return io::has_value(evaluation, "score", true) ? io::read_score(evaluation["score"]) : kUnscored;
}

}  // namespace

CachedResults read_cached_results(std::span<const std::string> files, const Pool& pool,
                                  const ReadOptions& options) {
  if (files.empty()) {
    throw Error(ErrorCode::kInvalidArgument,
                "no file of cached results is given: name at least one");
  }
  CachedResults results;
  OutcomeTable& table = results.table;
  std::unordered_map<std::string, std::size_t> query_index;
  std::vector<std::string> spelling(pool.size());
  std::vector<Row> rows;
  internal::LeftOut left_out(pool, options);
  for (const std::string& file : files) {
    table.sources.push_back(hash_source(file));
    io::for_each_row(file, [&](const JsonView& object, std::uint64_t line) {
      const std::string id = io::read_name(object["global_index"], "the query's name, a string");
      const std::string& text = object["question"].string("the query's text, a string");
      const std::string& name = object["llm_selected"].string("the name of a model, a string");
      const ModelSpec* const model = find_model(pool, name);
      if (model == nullptr) {
        left_out.add_unknown(object["llm_selected"], name);
        return;
      }
      const auto [entry, is_new] = query_index.emplace(id, table.queries.size());
      if (is_new) {
        table.queries.push_back({.id = id, .text = text, .dataset = dataset_of(id)});
      } else if (table.queries[entry->second].text != text) {
        object["question"].fail_with("the query " + excerpt(id) +
                                     " had another text before: expected one text for each");
      }
      Row row{.query = entry->second,
              .model = static_cast<std::uint32_t>(model - pool.data()),
              .answer = read_answer(object),
              .score = cached_score(object),
              .file = file,
              .line = line};
      if (!row.answer.success) row.score = kUnscored;
      spelling[row.model] = name;
      rows.push_back(std::move(row));
    });
  }
  std::vector<bool> found(pool.size());
  for (const Row& row : rows) found[row.model] = true;
  left_out.report(files.front(), found);
  if (rows.empty()) {
    throw Error(ErrorCode::kBadData,
                "there is no cached result of a model of the checkpoint's pool; " +
                    (left_out.any_unknown() ? "the models are: " + left_out.list_unknown()
                                            : "the file is empty") +
                    "; expected names or openrouter_ids of the pool",
                {.file = files.front()});
  }

  std::vector<std::uint32_t> column(pool.size());
  for (std::uint32_t model = 0; model < pool.size(); ++model) {
    if (spelling[model].empty()) continue;
    column[model] = static_cast<std::uint32_t>(table.models.size());
    table.models.push_back(pool[model]);
    table.pairs.push_back({column[model], Budget()});
    results.spelling.push_back(spelling[model]);
  }
  table.scores.assign(table.queries.size() * table.pairs.size(), kUnscored);
  table.output_tokens = table.scores;
  results.answers.resize(table.scores.size());
  std::vector<double> lengths(table.queries.size()), counted(table.queries.size());
  for (Row& row : rows) {
    const std::size_t cell = table.cell(row.query, column[row.model]);
    if (results.answers[cell].exists) {
      throw Error(ErrorCode::kBadData,
                  "the result of " + results.spelling[column[row.model]] + " for query " +
                      excerpt(table.queries[row.query].id) +
                      " was there already: expected each once",
                  {.file = row.file, .line = row.line});
    }
    if (row.answer.input_tokens > 0) {
      lengths[row.query] += static_cast<double>(row.answer.input_tokens);
      ++counted[row.query];
    }
    if (!std::isnan(row.score)) {
      table.scores[cell] = row.score;
      table.output_tokens[cell] = static_cast<double>(row.answer.output_tokens);
    }
    results.answers[cell] = std::move(row.answer);
  }
  for (std::size_t i = 0; i < table.queries.size(); ++i) {
    table.queries[i].input_tokens = counted[i] > 0 ? std::llround(lengths[i] / counted[i])
                                                   : estimate_input_tokens(table.queries[i].text);
  }
  return results;
}

std::vector<std::uint32_t> choose_models(const Router& router, const CachedResults& results,
                                         std::span<const float> embeddings) {
  std::vector<std::string> names;
  for (const ModelSpec& model : results.table.models) names.push_back(model.name);
  const RouteOptions options{.policy = {.allow = std::move(names)}};
  std::vector<QuerySize> sizes;
  for (const QueryRecord& query : results.table.queries) {
    sizes.push_back({.input_tokens = query.input_tokens});
  }
  const DecisionBatch batch =
      router.route_batch(std::span<const float>(embeddings), options, sizes);
  std::vector<std::uint32_t> choices;
  for (const std::uint32_t model : batch.model) {
    const std::string& name = (*batch.pool)[model].name;
    const auto found = std::find_if(results.table.models.begin(), results.table.models.end(),
                                    [&](const ModelSpec& model) { return model.name == name; });
    choices.push_back(static_cast<std::uint32_t>(found - results.table.models.begin()));
  }
  return choices;
}

std::string predictions_json(const CachedResults& results, std::span<const std::uint32_t> choices) {
  using Json = nlohmann::ordered_json;
  Json json = Json::array();
  for (std::size_t i = 0; i < choices.size(); ++i) {
    const QueryRecord& query = results.table.queries[i];
    const std::size_t cell = results.table.cell(i, choices[i]);
    const CachedAnswer& answer = results.answers[cell];
    const double score = results.table.scores[cell];
    Json result, cost;
    if (answer.exists) {
      result = {{"generated_answer", answer.text},
                {"success", answer.success},
                {"token_usage",
                 {{"input_tokens", answer.input_tokens},
                  {"output_tokens", answer.output_tokens},
                  {"total_tokens", answer.input_tokens + answer.output_tokens}}}};
      cost = cost_usd(results.table.models[choices[i]], answer.input_tokens,
                      static_cast<double>(answer.output_tokens));
    }
    json.push_back({{"global index", query.id},
                    {"prompt", query.text},
                    {"prediction", results.spelling[choices[i]]},
                    {"generated_result", std::move(result)},
                    {"cost", std::move(cost)},
                    {"accuracy", std::isnan(score) ? Json() : Json(score)}});
  }
  return json.dump(2) + '\n';
}

RouterEvaluation evaluate_cached_results(const Router& router, const OutcomeData& data,
                                         EvaluationOptions options, const std::string& file) {
  if (complete_queries(data.table).empty()) {
    throw Error(ErrorCode::kBadData,
                "no query has a score of every model, so nothing can be evaluated: expected "
                "\"evaluation_result\" with a \"score\"",
                {.file = file});
  }
  options.against = {"oracle", "random mixing", "models"};
  return evaluate_checkpoint(router, data, 0, options);
}

}  // namespace r2router::eval
