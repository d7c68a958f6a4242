#include "encode/tasks/task_kind.h"

#include <string>
#include <utility>

#include "encode/lexical/lexical_kind.h"

namespace r2router::internal {

using io::JsonView;

TaskEncoderSpec read_task_spec(const io::JsonView& field, std::uint32_t embedding_dim) {
  field.refuse_misspelt(
      {"type", "dimension", "seed", "features", "fold_digits", "square_root", "tasks", "novelty"});
  TaskEncoderSpec spec;
  spec.features = read_hashed_features(field);
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
  json["tasks"] = spec.tasks;
  json["novelty"] = {{"intercept", spec.novelty_intercept},
                     {"coverage", spec.novelty_coverage},
                     {"certainty", spec.novelty_certainty}};
  return json;
}

std::uint32_t least_format_version(const TaskEncoderSpec&) { return 4; }

std::vector<EncoderTensor> list_tensors(const TaskEncoderSpec& spec, TaskEncoderTensors& tensors) {
  return {{.name = "task_weights",
           .contents = "tasks' weights",
           .setting = "tasks",
           .shape = {spec.features.dimension, spec.tasks.size()},
           .values = &tensors.weights},
          {.name = "task_intercepts",
           .contents = "tasks' intercepts",
           .setting = "tasks",
           .shape = {spec.tasks.size()},
           .values = &tensors.intercepts}};
}

std::shared_ptr<const Encoder> make_kind(const TaskEncoderSpec& spec, TaskEncoderTensors tensors) {
  return make_task_encoder(spec, std::move(tensors));
}

}  // namespace r2router::internal
