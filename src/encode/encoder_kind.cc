#include "encode/encoder_kind.h"

#include <functional>
#include <numeric>
#include <string>
#include <utility>
#include <variant>

#include "encode/lexical/lexical_kind.h"
#include "encode/tasks/task_kind.h"

namespace r2router {
namespace internal {

std::uint64_t EncoderTensor::size() const {
  if (shape.empty()) return 0;
  return std::accumulate(shape.begin(), shape.end(), std::uint64_t{1}, std::multiplies<>());
}

EncoderSpec read_encoder(const io::JsonView& field, std::uint32_t embedding_dim) {
  const io::JsonView type = field["type"];
  if (type.is_string() && type.string() == kLexicalType) {
    return read_lexical_spec(field, embedding_dim);
  }
  if (type.is_string() && type.string() == kTaskType) return read_task_spec(field, embedding_dim);
  type.fail("\"" + std::string(kLexicalType) + "\" or \"" + std::string(kTaskType) + "\"");
}

io::Json encoder_to_json(const EncoderSpec& spec) {
  return std::visit([](const auto& own) { return spec_to_json(own); }, spec);
}

std::uint32_t format_version_for(const EncoderSpec& spec) {
  return std::visit([](const auto& own) { return least_format_version(own); }, spec);
}

EncoderTensors empty_tensors(const EncoderSpec& spec) {
  return std::visit([]<typename Spec>(const Spec&) -> EncoderTensors { return TensorsOf<Spec>(); },
                    spec);
}

std::vector<EncoderTensor> tensors_of(const EncoderSpec& spec, EncoderTensors& tensors) {
  return std::visit(
      [&]<typename Spec>(const Spec& own) {
        return list_tensors(own, std::get<TensorsOf<Spec>>(tensors));
      },
      spec);
}

std::vector<EncoderTensor> tensors_of(const EncoderSpec& spec, const EncoderTensors& tensors) {
  return tensors_of(spec, const_cast<EncoderTensors&>(tensors));
}

}  // namespace internal

std::size_t embedding_dimension(const EncoderSpec& spec) {
  return std::visit([](const auto& own) { return own.embedding_dimension(); }, spec);
}

std::shared_ptr<const Encoder> make_encoder(const EncoderSpec& spec, EncoderTensors tensors) {
  return std::visit(
      [&]<typename Spec>(const Spec& own) {
        return internal::make_kind(own, std::get<internal::TensorsOf<Spec>>(std::move(tensors)));
      },
      spec);
}

}  // namespace r2router
