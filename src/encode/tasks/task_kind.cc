#include "encode/tasks/task_kind.h"

#include <cstdint>
#include <string>
#include <utility>

#include "encode/lexical/lexical_kind.h"

namespace r2router::internal {

using io::JsonView;

TaskEncoderSpec read_task_spec(const io::JsonView& field, std::uint32_t embedding_dim) {
  field.refuse_misspelt({"type", "dimension", "seed", "features", "fold_digits", "square_root",
                         "wordpieces", "tasks", "novelty"});
  TaskEncoderSpec spec;
  spec.features = read_hashed_features(field);
  if (const JsonView wordpieces = field["wordpieces"]; wordpieces.present()) {
    wordpieces.refuse_misspelt({"pieces", "dimension", "bytes", "weight"});
    WordpieceSpec& own = spec.wordpieces.emplace();
    own.pieces = wordpieces["pieces"].uint32(1, 1 << 20);
    own.dimension = wordpieces["dimension"].uint32(1, 4096);
    own.bytes = wordpieces["bytes"].uint32(1, UINT32_MAX);
    own.weight =
        static_cast<float>(wordpieces["weight"].number(0.001, 1000, "a number from 0.001 to 1000"));
  }
  spec.tasks = read_distinct_names(field["tasks"], "task", kMostTasks);
  const JsonView novelty = field["novelty"];
  novelty.refuse_misspelt({"intercept", "coverage", "certainty"});
  const auto number = [&](std::string_view name) {
    return novelty[name].number(-1000, 1000, "a number from -1000 to 1000");
  };
  spec.novelty_intercept = number("intercept");
  spec.novelty_coverage = number("coverage");
  spec.novelty_certainty = number("certainty");
  if (spec.embedding_dimension() != embedding_dim) {
    field["tasks"].fail("one task less than /embedding_dim, which is " +
                        std::to_string(embedding_dim) +
                        ": an embedding has the share of each task, and that of none of them");
  }
  return spec;
}

io::Json spec_to_json(const TaskEncoderSpec& spec) {
  io::Json json = {{"type", kTaskType}};
  json.update(hashed_features_to_json(spec.features));
  if (spec.wordpieces) {
    json["wordpieces"] = {{"pieces", spec.wordpieces->pieces},
                          {"dimension", spec.wordpieces->dimension},
                          {"bytes", spec.wordpieces->bytes},
                          {"weight", static_cast<double>(spec.wordpieces->weight)}};
  }
  json["tasks"] = spec.tasks;
  json["novelty"] = {{"intercept", spec.novelty_intercept},
                     {"coverage", spec.novelty_coverage},
                     {"certainty", spec.novelty_certainty}};
  return json;
}

std::uint32_t least_format_version(const TaskEncoderSpec& spec) { return spec.wordpieces ? 5 : 4; }

std::vector<EncoderTensor> list_tensors(const TaskEncoderSpec& spec, TaskEncoderTensors& tensors) {
  using Shape = std::vector<std::uint64_t>;
  const WordpieceSpec wordpieces = spec.wordpieces.value_or(WordpieceSpec());
  const auto shape = [&](Shape extents) { return spec.wordpieces ? std::move(extents) : Shape(); };
  return {{.name = "task_weights",
           .contents = "tasks' weights",
           .setting = "tasks",
           .shape = {spec.input_dimension(), spec.tasks.size()},
           .values = &tensors.weights},
          {.name = "task_intercepts",
           .contents = "tasks' intercepts",
           .setting = "tasks",
           .shape = {spec.tasks.size()},
           .values = &tensors.intercepts},
          {.name = kWordpieces,
           .contents = "bytes of the vocabulary",
           .setting = "wordpieces",
           .shape = shape({wordpieces.bytes}),
           .values = &tensors.wordpieces.vocabulary},
          {.name = kWordpieceVectors,
           .contents = "vectors of wordpieces",
           .setting = "wordpieces",
           .shape = shape({wordpieces.pieces, wordpieces.dimension}),
           .values = &tensors.wordpieces.vectors},
          {.name = kWordpieceScales,
           .contents = "scales of wordpieces",
           .setting = "wordpieces",
           .shape = shape({wordpieces.pieces}),
           .values = &tensors.wordpieces.scales}};
}

std::shared_ptr<const Encoder> make_kind(const TaskEncoderSpec& spec, TaskEncoderTensors tensors) {
  return make_task_encoder(spec, std::move(tensors));
}

}  // namespace r2router::internal
