#include "r2router/checkpoint.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <set>
#include <span>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>

#include "base/excerpt.h"
#include "base/file.h"
#include "base/finite.h"
#include "base/json.h"
#include "base/sha256.h"
#include "checkpoint/native.h"
#include "checkpoint/released.h"
#include "encode/encoder_kind.h"
#include "score/check_predictor.h"

namespace r2router {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kMaxConfigBytes = 4 << 20;

/// validate() for one checkpoint.
class Validator {
 public:
  Validator(const Checkpoint& checkpoint, const std::string& file)
      : config_(checkpoint.config),
        predictor_(checkpoint.predictor),
        names_(head_names(checkpoint.predictor)),
        spreads_(checkpoint.spreads),
        encoder_(checkpoint.encoder),
        curves_(checkpoint.length_curves),
        file_(file) {}

  void run() const {
    check_sizes();
    check_names();
    check_budgets();
    check_numbers();
  }

 private:
  [[noreturn]] void fail(const std::string& message) const {
    throw Error(ErrorCode::kBadCheckpoint, message, {.file = file_});
  }

  /// A head as FORMAT.md writes it.
  std::string label(const HeadName& name) const {
    std::string text = "[";
    text += excerpt(config_.models[name.pair.model].name) + ", ";
    text += io::budget_to_json(name.pair.budget).dump();
    return text + (name.target == Target::kQuality ? R"(, "quality"])" : R"(, "tokens"])");
  }

  void expect_equal(const std::string& what, std::size_t found, std::size_t expected,
                    const std::string& because) const {
    if (found == expected) return;
    fail(what + " is " + std::to_string(found) + ", expected " + std::to_string(expected) + ", " +
         because + "; heads, config and encoder must belong to one checkpoint");
  }

  /// First, so that the other checks can index safely.
  void check_sizes() const {
    if (static_cast<std::size_t>(config_.predictor) != predictor_.index()) {
      fail("the config's predictor is \"" + std::string(to_string(config_.predictor)) +
           "\", found the data of another kind; set Config::predictor");
    }
    if (names_.empty()) fail("found no heads, expected some for each model; train the router");
    expect_equal("the heads' dimension", dimension_of(predictor_), config_.embedding_dim,
                 "the config's embedding_dim");
    if (const auto* heads = std::get_if<LinearHeads>(&predictor_)) {
      const std::size_t values = std::visit([](const auto& v) { return v.size(); }, heads->weights);
      expect_equal("the number of weights", values, names_.size() * heads->dimension,
                   "the heads' count times their dimension");
      expect_equal("the number of intercepts", heads->intercepts.size(), names_.size(),
                   "one for each head");
    }
    if (!spreads_.empty()) {
      expect_equal("the number of spreads", spreads_.size(), names_.size(),
                   "one for each head, or none");
    }
    const bool has_curves = config_.length_points > 0;
    const auto lengths =
        static_cast<std::size_t>(std::ranges::count(names_, Target::kTokens, &HeadName::target));
    expect_equal("the number of length curves", curves_.size(), has_curves ? lengths : 0,
                 has_curves ? "one for each length head" : "since the config has no length_points");
    for (const LengthCurve& curve : curves_) {
      expect_equal("the number of a length curve's points", curve.predicted.size(),
                   config_.length_points, "the config's length_points");
    }
    if (config_.encoder) {
      expect_equal("the encoder's dimension", embedding_dimension(*config_.encoder),
                   config_.embedding_dim, "the config's embedding_dim");
    }
    if (config_.encoder.value_or(EncoderSpec()).index() != encoder_.index()) {
      fail(
          "the encoder's tensors are of another kind than /encoder of the config; heads, config "
          "and encoder must belong to one checkpoint");
    }
    for (const internal::EncoderTensor& tensor : encoder_tensors()) {
      expect_equal("the number of " + std::string(tensor.contents),
                   std::visit([](const auto* values) { return values->size(); }, tensor.values),
                   tensor.size(), "as /encoder of the config says");
    }
  }

  /// Those of the default encoder, which has none, without one.
  std::vector<internal::EncoderTensor> encoder_tensors() const {
    return internal::tensors_of(config_.encoder.value_or(EncoderSpec()), encoder_);
  }

  void check_names() const {
    std::set<HeadName> names;
    std::uint32_t model = 0;
    for (const HeadName& name : names_) {
      if (name.pair.model >= config_.models.size()) {
        fail("found a head of model number " + std::to_string(name.pair.model) +
             ", expected less than " + std::to_string(config_.models.size()) +
             ", the number of models in the config");
      }
      if (!names.insert(name).second) fail("the head " + label(name) + " occurs twice; remove one");
      if (name.pair.model < model) {
        fail("the head " + label(name) + " is after a head of " +
             excerpt(config_.models[model].name) +
             ", expected the heads grouped by model in the config's order; reorder them");
      }
      model = name.pair.model;
    }
    // After all names are known: a head may precede the one it needs.
    std::set<std::uint32_t> models;
    for (const HeadName& name : names_) {
      models.insert(name.pair.model);
      if (name.target == Target::kTokens) {
        expect_head(names, {name.pair, Target::kQuality});
      } else if (name.pair.budget.is_unlimited()) {
        expect_head(names, {name.pair, Target::kTokens});
      }
    }
    for (std::uint32_t i = 0; i < config_.models.size(); ++i) {
      if (models.contains(i)) continue;
      fail("the config's model " + excerpt(config_.models[i].name) +
           " has no heads; remove it from the config or train heads for it");
    }
  }

  void expect_head(const std::set<HeadName>& names, const HeadName& name) const {
    if (!names.contains(name)) fail("the head " + label(name) + " is missing; train it");
  }

  /// Budgets in the config are optional, but must include those of the heads.
  void check_budgets() const {
    const std::vector<Budget>& limits = config_.token_limits;
    for (const HeadName& name : names_) {
      if (limits.empty() || std::ranges::find(limits, name.pair.budget) != limits.end()) continue;
      fail("found the head " + label(name) +
           ", expected a budget among /token_limits of the config; add it there");
    }
  }

  void check_numbers() const {
    std::visit([this](const auto& data) { check_numbers(data); }, predictor_);
    for (const internal::EncoderTensor& tensor : encoder_tensors()) {
      const auto* const values = std::get_if<std::vector<float>*>(&tensor.values);
      if (values == nullptr) continue;  // whole numbers
      const bool bad_sign =
          !tensor.may_be_negative && std::ranges::any_of(**values, [](float v) { return v < 0; });
      if (all_finite<float>(**values) && !bad_sign) continue;
      fail("the " + std::string(tensor.contents) + " have one that is " +
           (tensor.may_be_negative ? "" : "negative or ") + "not finite; train the encoder again");
    }
    if (!std::ranges::all_of(spreads_, [](double s) { return s >= 0 && std::isfinite(s); })) {
      fail("the spreads have one that is negative or not finite; train the router again");
    }
    for (const LengthCurve& curve : curves_) check_numbers(curve);
  }

  void check_numbers(const LinearHeads& heads) const {
    std::visit(
        [&](const auto& weights) {
          using Value = typename std::decay_t<decltype(weights)>::value_type;
          // Row by row, to be able to name the head.
          for (std::size_t i = 0; i < names_.size(); ++i) {
            const std::span<const Value> row(weights.data() + i * heads.dimension, heads.dimension);
            if (all_finite(row) && all_finite<double>({&heads.intercepts[i], 1})) continue;
            fail("the head " + label(names_[i]) +
                 " has a weight or intercept that is not finite; train it again");
          }
        },
        heads.weights);
  }

  template <typename Data>
  void check_numbers(const Data& data) const {
    if (const std::string fault = find_fault(data); !fault.empty()) fail(fault);
  }

  const Config& config_;
  const Predictor& predictor_;
  const std::vector<HeadName>& names_;
  const std::vector<double>& spreads_;
  const EncoderTensors& encoder_;
  const std::vector<LengthCurve>& curves_;
  const std::string& file_;
};

bool exists(const std::string& path) {
  std::error_code ignored;  // errors are reported when the file is opened
  return fs::status(path, ignored).type() != fs::file_type::not_found;
}

[[noreturn]] void fail_not_found(const std::string& path, const std::string& what) {
  throw Error(ErrorCode::kNotFound,
              what +
                  "; expected a checkpoint folder, which holds config.json and either "
                  "model.safetensors (native) or checkpoints/ (released)",
              {.file = path});
}

Config load_config(const std::string& folder) {
  const std::string path = folder + "/" + io::kConfigName;
  std::error_code ignored;
  if (fs::is_regular_file(folder, ignored)) fail_not_found(folder, "found a file");
  if (!exists(path)) fail_not_found(folder, "found a folder without config.json");
  return parse_config(io::read_text(path, kMaxConfigBytes, ErrorCode::kBadConfig), path);
}

Checkpoint load_native(const std::string& folder, Config config) {
  const std::string path = folder + "/" + io::kModelName;
  if (!exists(path)) {
    fail_not_found(folder, "found a native config.json without model.safetensors");
  }
  // The heads are copied: if they stayed mapped, truncating the file would kill a running service
  // (SIGBUS).
  const io::MappedFile model(path);
  return io::decode_native(std::move(config), model.bytes(), model.path());
}

}  // namespace

Checkpoint load_checkpoint(const std::string& name, const LogCallback& log) {
  const std::string folder = checkpoint_folder(name);
  Config config = load_config(folder);
  // Otherwise the folder would be read as a released one, with a misleading error.
  const std::string model = folder + "/" + io::kModelName;
  if (config.format_version == 0 && exists(model) && !exists(folder + "/checkpoints")) {
    throw Error(ErrorCode::kBadConfig,
                "this field is missing although the folder has model.safetensors; add it as 1",
                {.file = folder + "/" + io::kConfigName, .pointer = "/format_version"});
  }
  const bool native = config.format_version != 0;
  Checkpoint checkpoint = native ? load_native(folder, std::move(config))
                                 : io::load_released(folder, std::move(config), log);
  validate(checkpoint, native ? model : folder);
  return checkpoint;
}

void save_checkpoint(const Checkpoint& checkpoint, const std::string& folder) {
  // Write only what load_checkpoint() accepts.
  validate(checkpoint);
  io::AtomicFolder target(folder);
  target.write(io::kConfigName, to_json(checkpoint.config));
  target.write(io::kModelName, io::encode_native(checkpoint));
  target.commit();
}

std::string checkpoint_checksum(const std::string& name) {
  const std::string folder = checkpoint_folder(name);
  const Config config = load_config(folder);
  Sha256 hash;
  if (config.format_version != 0) {
    hash.update(io::MappedFile(folder + "/" + io::kModelName).bytes());
    return hash.hex_digest();
  }
  for (const std::string& name : config.checkpoint_dirs) {
    std::vector<std::string> paths;
    for (const std::string_view file : io::kReleasedFiles) {
      paths.push_back(io::released_path(folder, name, file));
    }
    if (!std::ranges::all_of(paths, exists)) continue;  // the loader skips this model
    for (const std::string& path : paths) hash.update(io::MappedFile(path).bytes());
  }
  return hash.hex_digest();
}

void validate(const Checkpoint& checkpoint, const std::string& file) {
  Validator(checkpoint, file).run();
}

}  // namespace r2router
