#include "encode/lexical/lexical_kind.h"

#include <limits>
#include <set>
#include <string>
#include <utility>

#include "base/excerpt.h"
#include "base/json_names.h"

namespace r2router::internal {
namespace {

using io::JsonView;

constexpr std::uint32_t kLongestNgram = 8;
constexpr std::size_t kMostFeatureFamilies = 8;
constexpr std::size_t kMostTopics = 1024;

constexpr std::pair<std::string_view, LexicalFeatures::Kind> kFeatureKinds[] = {
    {"words", LexicalFeatures::Kind::kWords}, {"characters", LexicalFeatures::Kind::kCharacters}};

LexicalFeatures read_features(const JsonView& field) {
  LexicalFeatures features;
  field.refuse_misspelt({"kind", "min_n", "max_n", "weight"});
  features.kind = io::read_name(field["kind"], kFeatureKinds);
  features.min_n = field["min_n"].uint32(1, kLongestNgram);
  features.max_n = field["max_n"].uint32(features.min_n, kLongestNgram);
  if (const JsonView weight = field["weight"]; weight.present()) {
    // The smallest and largest normal numbers of a float, so that the conversion is harmless.
    features.weight = static_cast<float>(weight.number(
        std::numeric_limits<float>::min(), std::numeric_limits<float>::max(), "a positive number"));
  }
  return features;
}

}  // namespace

LexicalEncoderSpec read_hashed_features(const io::JsonView& field) {
  LexicalEncoderSpec spec;
  spec.dimension = field["dimension"].uint32(1, kMostDimensions);
  if (const JsonView seed = field["seed"]; seed.present()) {
    spec.seed = seed.integer(0, UINT64_MAX, "a whole number from 0 to 18446744073709551615");
  }
  spec.features.clear();  // the default has one family
  const auto features = field["features"].elements("an array of feature families");
  if (features.empty() || features.size() > kMostFeatureFamilies) {
    field["features"].fail("1 to " + std::to_string(kMostFeatureFamilies) + " feature families");
  }
  for (const JsonView& family : features) spec.features.push_back(read_features(family));
  if (const JsonView fold = field["fold_digits"]; fold.present()) spec.fold_digits = fold.boolean();
  if (const JsonView root = field["square_root"]; root.present()) spec.square_root = root.boolean();
  return spec;
}

io::Json hashed_features_to_json(const LexicalEncoderSpec& spec) {
  io::Json features = io::Json::array();
  for (const LexicalFeatures& family : spec.features) {
    features.push_back({{"kind", io::name_of(family.kind, kFeatureKinds)},
                        {"min_n", family.min_n},
                        {"max_n", family.max_n},
                        {"weight", static_cast<double>(family.weight)}});
  }
  return {{"dimension", spec.dimension},
          {"seed", spec.seed},
          {"features", std::move(features)},
          {"fold_digits", spec.fold_digits},
          {"square_root", spec.square_root}};
}

std::vector<std::string> read_distinct_names(const io::JsonView& field, std::string_view thing,
                                             std::size_t most) {
  const std::string one(thing);
  std::vector<std::string> names;
  std::set<std::string_view> seen;
  for (const JsonView& element : field.elements("an array of " + one + "s")) {
    const std::string& name = element.string("a " + one + "'s name");
    if (!seen.insert(name).second) {
      element.fail_with("the " + one + " " + excerpt(name) +
                        " occurs twice; remove one of the two");
    }
    names.push_back(name);
  }
  if (names.size() < 2 || names.size() > most) {
    field.fail("2 to " + std::to_string(most) + " " + one + "s");
  }
  return names;
}

LexicalEncoderSpec read_lexical_spec(const io::JsonView& field, std::uint32_t embedding_dim) {
  field.refuse_misspelt(
      {"type", "dimension", "seed", "features", "fold_digits", "square_root", "idf", "topics"});
  LexicalEncoderSpec spec = read_hashed_features(field);
  if (const JsonView idf = field["idf"]; idf.present()) spec.has_idf = idf.boolean();
  if (const JsonView topics = field["topics"]; topics.present()) {
    spec.topics = read_distinct_names(topics, "topic", kMostTopics);
  }
  if (spec.embedding_dimension() != embedding_dim) {
    const std::size_t topics = spec.topics.size();
    field["dimension"].fail(topics == 0 ? std::to_string(embedding_dim) + ", as in /embedding_dim"
                                        : "a number that makes " + std::to_string(embedding_dim) +
                                              ", /embedding_dim, with the " +
                                              std::to_string(topics) + " topics");
  }
  return spec;
}

io::Json spec_to_json(const LexicalEncoderSpec& spec) {
  io::Json json = {{"type", kLexicalType}};
  json.update(hashed_features_to_json(spec));
  json["idf"] = spec.has_idf;
  if (!spec.topics.empty()) json["topics"] = spec.topics;
  return json;
}

std::uint32_t least_format_version(const LexicalEncoderSpec& spec) {
  return spec.topics.empty() ? 1 : 2;
}

std::vector<EncoderTensor> list_tensors(const LexicalEncoderSpec& spec,
                                        LexicalEncoderTensors& tensors) {
  const std::uint64_t dimension = spec.dimension, topics = spec.topics.size();
  using Shape = std::vector<std::uint64_t>;
  return {{.name = "idf",
           .contents = "IDF weights",
           .setting = "idf",
           .shape = spec.has_idf ? Shape{dimension} : Shape{},
           .values = &tensors.idf,
           .may_be_negative = false},
          {.name = "topic_weights",
           .contents = "topics' weights",
           .setting = "topics",
           .shape = topics > 0 ? Shape{topics, dimension} : Shape{},
           .values = &tensors.topics.weights},
          {.name = "topic_intercepts",
           .contents = "topics' intercepts",
           .setting = "topics",
           .shape = topics > 0 ? Shape{topics} : Shape{},
           .values = &tensors.topics.intercepts}};
}

std::shared_ptr<const Encoder> make_kind(const LexicalEncoderSpec& spec,
                                         LexicalEncoderTensors tensors) {
  return make_lexical_encoder(spec, std::move(tensors.idf), std::move(tensors.topics));
}

}  // namespace r2router::internal
