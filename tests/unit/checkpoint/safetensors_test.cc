#include "checkpoint/safetensors.h"

#include <cmath>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/errors.h"
#include "support/temporary_folder.h"

namespace r2router::io {
namespace {

using ::testing::ElementsAre;
using testing::error_of;
using testing::expect_error;
using ::testing::HasSubstr;

std::span<const std::uint8_t> bytes_of(std::string_view text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}

Safetensors parse(std::string_view file) {
  return parse_safetensors(bytes_of(file), "x.safetensors");
}

std::string length_of(std::uint64_t length) {
  std::string bytes;
  for (int i = 0; i < 8; ++i) bytes += static_cast<char>(length >> (8 * i));
  return bytes;
}

std::string file_of(const std::string& header, std::size_t data_bytes) {
  return length_of(header.size()) + header + std::string(data_bytes, '\x01');
}

/// Two tensors that fill 24 bytes; `second` replaces the description of the second.
std::string two_tensors(
    const std::string& second = R"({"dtype": "F64", "shape": [2], "data_offsets": [8, 24]})") {
  return R"({"a": {"dtype": "F32", "shape": [1, 2], "data_offsets": [0, 8]}, "b": )" + second + "}";
}

void expect_bad(const std::string& file, const std::string& pointer, const std::string& part) {
  const Error error = error_of([&] { parse(file); });
  EXPECT_EQ(to_string(error.code()), to_string(ErrorCode::kBadCheckpoint));
  EXPECT_EQ(error.where().pointer, pointer) << error.what();
  EXPECT_EQ(error.where().file, "x.safetensors");
  EXPECT_THAT(error.what(), HasSubstr(part));
}

TEST(Safetensors, ReadsWhatThePythonPackageWrites) {
  const std::string file = testing::read_file(std::string(R2ROUTER_SOURCE_DIR) +
                                              "/tests/golden/native_v1/model.safetensors");
  const Safetensors contents = parse(file);
  EXPECT_EQ(contents.metadata.at("format"), "r2router");
  EXPECT_EQ(contents.metadata.at("format_version"), "1");
  ASSERT_EQ(contents.tensors.size(), 3U);
  EXPECT_EQ(contents.tensors[0].name, "intercepts");
  EXPECT_EQ(contents.tensors[0].type, TensorType::kFloat64);
  EXPECT_THAT(copy_elements<double>(contents.tensors[0]),
              ElementsAre(0.1, 0.25 + 0.1, 0.5 + 0.1, 0.75 + 0.1, 1 + 0.1, 1.25 + 0.1, 1.5 + 0.1));
  EXPECT_EQ(contents.tensors[1].name, "idf");
  EXPECT_EQ(copy_elements<float>(contents.tensors[1])[3], 1 + 3 / 16.0F);
  EXPECT_EQ(contents.tensors[2].name, "weights");
  EXPECT_EQ(contents.tensors[2].type, TensorType::kFloat32);
  EXPECT_THAT(contents.tensors[2].shape, ElementsAre(7, 8));
  EXPECT_EQ(copy_elements<float>(contents.tensors[2])[55], 55 / 8.0F - 3);
}

// Byte for byte from the published description of the format.
TEST(Safetensors, WritesTheDocumentedBytes) {
  const std::vector<float> values = {1.5F, -2};
  const TensorView tensor{
      "t", TensorType::kFloat32, {2, 1}, {reinterpret_cast<const std::uint8_t*>(values.data()), 8}};
  const std::string header =
      R"({"__metadata__":{"k":"v"},"t":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]}})";
  const std::string padding((8 - header.size() % 8) % 8, ' ');
  const std::string data("\x00\x00\xC0\x3F\x00\x00\x00\xC0", 8);
  EXPECT_EQ(write_safetensors({{{"k", "v"}}, {tensor}}),
            length_of(header.size() + padding.size()) + header + padding + data);
}

TEST(Safetensors, WritingAndReadingGivesTheSameBack) {
  const std::vector<double> doubles = {1e-300, -0.0, std::nan("")};
  const std::vector<float> floats = {1, 2, 3, 4};
  const std::string file =
      write_safetensors({{{"ünï", "\"quoted\"\n"}},
                         {{"d",
                           TensorType::kFloat64,
                           {3},
                           {reinterpret_cast<const std::uint8_t*>(doubles.data()), 24}},
                          {"none", TensorType::kFloat32, {0, 5}, {}},
                          {"f",
                           TensorType::kFloat32,
                           {2, 2},
                           {reinterpret_cast<const std::uint8_t*>(floats.data()), 16}}}});
  const Safetensors contents = parse(file);
  EXPECT_EQ(contents.metadata.at("ünï"), "\"quoted\"\n");
  ASSERT_EQ(contents.tensors.size(), 3U);
  const std::vector<double> read = copy_elements<double>(contents.tensors[0]);
  EXPECT_EQ(std::memcmp(read.data(), doubles.data(), 24), 0);
  EXPECT_TRUE(copy_elements<float>(contents.tensors[1]).empty());
  EXPECT_EQ(copy_elements<float>(contents.tensors[2]), floats);
}

TEST(Safetensors, OrdersTensorsByTheirData) {
  const Safetensors contents = parse(file_of(
      R"({"late": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]},
          "scalar": {"dtype": "F32", "shape": [], "data_offsets": [0, 4]}})",
      8));
  EXPECT_EQ(contents.tensors[0].name, "scalar");
  EXPECT_EQ(contents.tensors[1].name, "late");
}

TEST(Safetensors, RefusesEveryTruncationAndAnySurplus) {
  const std::string whole = file_of(two_tensors(), 24);
  EXPECT_EQ(parse(whole).tensors.size(), 2U);
  for (std::size_t size = 0; size < whole.size(); ++size) {
    EXPECT_EQ(error_of([&] { parse(std::string_view(whole).substr(0, size)); }).code(),
              ErrorCode::kBadCheckpoint)
        << size;
  }
  const Error error = error_of([&] { parse(whole + "x"); });
  EXPECT_EQ(error.where().byte_offset, whole.size());
  EXPECT_THAT(error.what(), HasSubstr("1 bytes after the last tensor"));
}

TEST(Safetensors, ChecksTheHeadersLength) {
  expect_error(ErrorCode::kBadCheckpoint, "the file has 7 bytes", [] { parse("1234567"); });
  for (const std::uint64_t length : {std::uint64_t{3}, std::uint64_t{1} << 40, UINT64_MAX}) {
    expect_error(ErrorCode::kBadCheckpoint,
                 "header length of " + std::to_string(length) + " bytes, expected at most 2",
                 [&] { parse(length_of(length) + "{}"); });
  }
  const std::string large(kMaxSafetensorsHeader + 1, ' ');
  expect_error(ErrorCode::kBadCheckpoint, "expected at most 16777216",
               [&] { parse(length_of(large.size()) + large); });
}

TEST(Safetensors, ChecksTheHeadersText) {
  expect_bad(file_of("[]", 0), "", "expected a header: a JSON object");
  expect_bad(file_of("{", 0), "", "not valid JSON");
  expect_bad(file_of("{\"\xFF\": 1}", 0), "", "not valid JSON");
  expect_bad(file_of(R"({"a": {}, "a": {}})", 0), "/a", "occurs twice");
  expect_bad(file_of(R"({"__metadata__": []})", 0), "/__metadata__", "an object");
  expect_bad(file_of(R"({"__metadata__": {"k": 1}})", 0), "/__metadata__/k", "a string");
  expect_bad(file_of(R"({"__metadata__": {}, "__metadata__": {}})", 0), "/__metadata__", "twice");
  expect_bad(file_of(R"({"a": 1})", 0), "/a", "expected an object");
  expect_bad(file_of(R"({"a": {}})", 0), "/a/dtype", "missing");
}

TEST(Safetensors, ChecksTypesAndShapes) {
  const auto second = [](const std::string& type, const std::string& shape,
                         const std::string& offsets) {
    return file_of(two_tensors("{\"dtype\": " + type + ", \"shape\": " + shape +
                               ", \"data_offsets\": " + offsets + "}"),
                   24);
  };
  EXPECT_NO_THROW(parse(second(R"("F64")", "[2]", "[8, 24]")));
  expect_bad(second(R"("BF16")", "[8]", "[8, 24]"), "/b/dtype", "found the string \"BF16\"");
  expect_bad(second("64", "[2]", "[8, 24]"), "/b/dtype", R"("F32", "F64", "I8" or "U8")");
  expect_bad(second(R"("F64")", "2", "[8, 24]"), "/b/shape", "an array");
  expect_bad(second(R"("F64")", "[-2]", "[8, 24]"), "/b/shape/0", "a whole number");
  expect_bad(second(R"("F64")", "[2.0]", "[8, 24]"), "/b/shape/0", "a whole number");
  expect_bad(second(R"("F64")", "[3]", "[8, 24]"), "/b/data_offsets",
             "found 16 bytes of data, expected 24");
  expect_bad(second(R"("F32")", "[2]", "[8, 24]"), "/b/data_offsets", "expected 8");
  // 8 × 2^61 is 0 modulo 2^64, and 2^32 × 2^32 × 8 too.
  expect_bad(second(R"("F64")", "[2305843009213693952]", "[8, 8]"), "/b/data_offsets",
             "more than a file can hold");
  expect_bad(second(R"("F64")", "[4294967296, 4294967296]", "[8, 8]"), "/b/data_offsets",
             "more than a file can hold");
}

TEST(Safetensors, ChecksTheDatasPlaces) {
  const auto second = [](const std::string& offsets, std::size_t doubles) {
    return file_of(two_tensors("{\"dtype\": \"F64\", \"shape\": [" + std::to_string(doubles) +
                               "], \"data_offsets\": " + offsets + "}"),
                   24);
  };
  EXPECT_NO_THROW(parse(second("[8, 24]", 2)));
  expect_bad(second("[8]", 2), "/b/data_offsets", "two offsets");
  expect_bad(second("[8, 24, 24]", 2), "/b/data_offsets", "two offsets");
  expect_bad(second("[24, 8]", 2), "/b/data_offsets", "expected a range within the 24 bytes");
  expect_bad(second("[8, 32]", 3), "/b/data_offsets", "expected a range within the 24 bytes");
  expect_bad(second("[18446744073709551608, 18446744073709551615]", 1), "/b/data_offsets",
             "expected a range within");
  expect_bad(second("[-8, 8]", 2), "/b/data_offsets/0", "a whole number");
  // One tensor over another, and a hole between them.
  expect_bad(second("[0, 24]", 3), "/b/data_offsets", "begin at 0, expected 8");
  expect_bad(second("[4, 20]", 2), "/b/data_offsets", "begin at 4, expected 8");
  expect_bad(second("[16, 24]", 1), "/b/data_offsets", "begin at 16, expected 8");
  expect_error(ErrorCode::kBadCheckpoint, "8 bytes after the last tensor's data",
               [&] { parse(second("[8, 16]", 1)); });
}

}  // namespace
}  // namespace r2router::io
