#include "data/npy.h"

#include <cmath>
#include <cstring>
#include <initializer_list>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/errors.h"
#include "support/temporary_folder.h"

namespace r2router::io {
namespace {

using ::testing::ElementsAre;
using testing::expect_error;
using testing::read_file;

/// A file that NumPy wrote; see tests/golden/make_native_fixtures.py.
std::string fixture(const std::string& name) {
  return std::string(R2ROUTER_SOURCE_DIR) + "/tests/golden/npy/" + name + ".npy";
}

NpyArray parse(std::string_view bytes) {
  return parse_npy({reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()}, "x.npy");
}

/// A version 1.0 file with this header text.
std::string with_header(std::string_view header, std::size_t data_bytes = 16) {
  std::string file("\x93NUMPY\x01\x00", 8);
  file += static_cast<char>(header.size() & 0xFF);
  file += static_cast<char>(header.size() >> 8);
  return file.append(header) + std::string(data_bytes, '\0');
}

TEST(Npy, ReadsWhatNumpyWrites) {
  for (const char* name : {"float64", "fortran", "version_2", "version_3"}) {
    const NpyArray array = read_npy(fixture(name));
    EXPECT_EQ(array.rows, 2U) << name;
    EXPECT_EQ(array.columns, 3U) << name;
    EXPECT_THAT(std::get<std::vector<double>>(array.values),
                ElementsAre(0, 0.25, 0.5, 0.75, 1, 1.25))
        << name;
  }
  const NpyArray floats = read_npy(fixture("float32"));
  EXPECT_THAT(std::get<std::vector<float>>(floats.values),
              ElementsAre(0, 0.25F, 0.5F, 0.75F, 1, 1.25F));
}

TEST(Npy, AVectorIsOneRow) {
  const NpyArray array = read_npy(fixture("vector"));
  EXPECT_EQ(array.rows, 1U);
  EXPECT_EQ(array.columns, 3U);
  EXPECT_THAT(std::get<std::vector<double>>(array.values), ElementsAre(0, 0.25, 0.5));
}

TEST(Npy, KeepsTheShapeOfAnEmptyMatrix) {
  const NpyArray array = read_npy(fixture("empty"));
  EXPECT_EQ(array.rows, 0U);
  EXPECT_EQ(array.columns, 3U);
  EXPECT_TRUE(std::get<std::vector<double>>(array.values).empty());
}

TEST(Npy, RefusesOtherArrays) {
  const auto expect = [](const std::string& name, const std::string& part) {
    expect_error(ErrorCode::kBadData, part, [&] { read_npy(fixture(name)); });
  };
  expect("int64", "type \"<i8\", expected \"<f4\" or \"<f8\"");
  expect("float16", "type \"<f2\"");
  expect("big_endian", "type \">f8\"");
  expect("complex", "type \"<c8\"");
  expect("record", "an array of records");
  expect("scalar", "an array of 0 dimensions, expected 1 or 2");
  expect("cube", "an array of 3 dimensions, expected 1 or 2");
  expect("int64", fixture("int64"));
  expect("int64", "numpy.save(");
}

TEST(Npy, RefusesPythonObjectsAsUnsafe) {
  expect_error(ErrorCode::kUnsafe, "Python objects", [] { read_npy(fixture("object")); });
}

TEST(Npy, RefusesEveryTruncationAndAnySurplus) {
  const std::string whole = read_file(fixture("float32"));
  for (std::size_t size = 0; size < whole.size(); ++size) {
    expect_error(ErrorCode::kBadData, "x.npy",
                 [&] { parse(std::string_view(whole).substr(0, size)); });
  }
  expect_error(ErrorCode::kBadData, "found 25 bytes of data", [&] { parse(whole + "x"); });
}

TEST(Npy, RefusesOtherFilesAndVersions) {
  expect_error(ErrorCode::kBadData, "no .npy header", [] { parse("PK\x03\x04 an archive"); });
  std::string later = with_header("{}");
  later[6] = 4;
  expect_error(ErrorCode::kBadData, "version 4.0, expected 1.0, 2.0 or 3.0", [&] { parse(later); });
}

TEST(Npy, ChecksSizesBeforeTakingMemory) {
  // 2^32 × 2^32 is 0 modulo 2^64, and so is 2^62 × 4 bytes.
  for (const char* shape : {"(4294967296, 4294967296)", "(4611686018427387904, 1)",
                            "(18446744073709551616,)", "(1000000000000,)"}) {
    const std::string header =
        std::string("{'descr': '<f4', 'fortran_order': False, 'shape': ") + shape + ", }";
    EXPECT_EQ(testing::error_of([&] { parse(with_header(header, 0)); }).code(),
              ErrorCode::kBadData);
  }
}

TEST(Npy, UnderstandsOtherSpellingsOfTheHeader) {
  for (const char* header :
       {"{'shape':(2,2),'descr':'<f4','fortran_order':False}",
        "{\"descr\": \"<f4\", \"fortran_order\": False, \"shape\": (2, 2,), }\n"}) {
    EXPECT_EQ(parse(with_header(header)).rows, 2U) << header;
  }
}

TEST(Npy, RefusesOtherHeaders) {
  for (const char* header :
       {"", "{", "{}", "{'descr': '<f4'", "{'descr': '<f4', 'shape': (2, 2)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), 'x': 1}",
        "{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (2, 2)}",
        "{'descr': '<f4', 'fortran_order': Maybe, 'shape': (2, 2)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2, -2)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2)} x",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2",
        "{'descr': '<f4, 'fortran_order': False, 'shape': (2, 2)}",
        "{'descr': f(), 'fortran_order': False, 'shape': (2, 2)}"}) {
    const Error error = testing::error_of([&] { parse(with_header(header)); });
    EXPECT_EQ(error.code(), ErrorCode::kBadData) << header;
    EXPECT_TRUE(error.where().byte_offset.has_value()) << header;
  }
}

TEST(Npy, EmbeddingsHaveNumbersThatSaySomething) {
  const testing::TemporaryFolder folder;
  const auto write = [&](const char* name, std::initializer_list<float> values) {
    std::string file =
        with_header("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), }", 0);
    for (const float value : values) {
      file.append(reinterpret_cast<const char*>(&value), sizeof(value));
    }
    testing::put_file(folder / name, file);
    return folder / name;
  };
  EXPECT_EQ(read_embeddings_npy(write("good.npy", {0, 1, -1, 0})).rows, 2U);
  expect_error(ErrorCode::kBadData, "row 1 is all zeros", [&] {
    read_embeddings_npy(write("zero.npy", {0, 1, 0, -0.0F}));
  });
  expect_error(ErrorCode::kBadData, "row 1 holds nan at 0", [&] {
    read_embeddings_npy(write("nan.npy", {0, 1, std::nanf(""), 0}));
  });
  // Only embeddings have to be other than zero.
  EXPECT_EQ(read_npy(write("zero.npy", {0, 0, 0, 0})).rows, 2U);
}

}  // namespace
}  // namespace r2router::io
