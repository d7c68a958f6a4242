#include "checkpoint/joblib.h"

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <numeric>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <zlib.h>
#ifdef R2ROUTER_HAS_LZMA
#include <lzma.h>
#endif

#include "r2router/error.h"

#include "unit/checkpoint/pickle_writer.h"

namespace r2router::io {
namespace {

using testing::as_bytes;
using ::testing::HasSubstr;
using testing::PickleWriter;

std::string read_file(const std::filesystem::path& path) {
  std::ifstream stream(path, std::ios::binary);
  EXPECT_TRUE(stream) << path;
  return {std::istreambuf_iterator<char>(stream), {}};
}

std::filesystem::path fixtures() {
  return std::filesystem::path(R2ROUTER_SOURCE_DIR) / "tests" / "golden" / "joblib";
}

std::string compress(const std::string& content) {
  std::string result(compressBound(content.size()), '\0');
  uLongf size = result.size();
  EXPECT_EQ(compress2(reinterpret_cast<Bytef*>(result.data()), &size,
                      reinterpret_cast<const Bytef*>(content.data()), content.size(), 9),
            Z_OK);
  result.resize(size);
  return result;
}

std::vector<double> coefficients(const RegressorFile& file, const Regressor& head) {
  std::vector<double> values(head.size());
  file.copy_coefficients(head, values);
  return values;
}

/// Everything that a caller may do with a file.
void read_all(std::string_view bytes) {
  const RegressorFile file(as_bytes(bytes), "heads.joblib");
  for (const Regressor& head : file.heads()) coefficients(file, head);
}

void expect_refused(std::string_view bytes, ErrorCode code, const std::string& wording,
                    std::optional<std::size_t> offset = {}) {
  SCOPED_TRACE(wording);
  try {
    read_all(bytes);
    ADD_FAILURE() << "was read";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    EXPECT_EQ(error.where().file, "heads.joblib");
    ASSERT_TRUE(error.where().byte_offset.has_value());
    EXPECT_EQ(*error.where().byte_offset, offset.value_or(*error.where().byte_offset))
        << error.what();
    EXPECT_THAT(error.what(), HasSubstr(wording));
  }
}

// ---- Files that joblib and scikit-learn have written.

class JoblibFixture : public ::testing::TestWithParam<const char*> {};

TEST_P(JoblibFixture, GivesTheNumbersThatScikitLearnHolds) {
  const auto expected = nlohmann::ordered_json::parse(read_file(fixtures() / GetParam()));
  ASSERT_GE(expected.size(), 20u);
  for (const auto& [name, heads] : expected.items()) {
    SCOPED_TRACE(name);
    const std::string bytes = read_file(fixtures() / name);
    const RegressorFile file(as_bytes(bytes), name);
    EXPECT_EQ(file.is_dict(), heads[0]["key"] != "");
    ASSERT_EQ(file.heads().size(), heads.size());
    for (std::size_t i = 0; i < heads.size(); ++i) {
      const Regressor& head = file.heads()[i];
      EXPECT_EQ(head.key, heads[i]["key"].get<std::string>());
      EXPECT_EQ(head.is_float64(), heads[i]["dtype"] == "float64");
      EXPECT_EQ(head.intercept, heads[i]["intercept"].get<double>());
      EXPECT_EQ(coefficients(file, head), heads[i]["coefficients"].get<std::vector<double>>());
      if (head.is_float64()) continue;
      std::vector<float> narrow(head.size());
      file.copy_coefficients(head, narrow);
      EXPECT_EQ(std::vector<double>(narrow.begin(), narrow.end()), coefficients(file, head));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(NumPy, JoblibFixture,
                         ::testing::Values("expected_numpy1.json", "expected_numpy2.json"));

// The spellings that the reader must know are really in the fixtures.
TEST(Joblib, FixturesCoverBothSpellingsOfNumPy) {
  EXPECT_THAT(read_file(fixtures() / "numpy1_float32_one.joblib"),
              HasSubstr("numpy.core.multiarray"));
  EXPECT_THAT(read_file(fixtures() / "numpy2_float32_one.joblib"),
              HasSubstr("numpy._core.multiarray"));
  EXPECT_THAT(read_file(fixtures() / "numpy1_float32_protocol2.joblib"), HasSubstr("_codecs"));
  EXPECT_THAT(read_file(fixtures() / "numpy1_float32_one.joblib"), Not(HasSubstr("alignment")));
  EXPECT_EQ(read_file(fixtures() / "numpy2_float32_zlib.joblib")[0], '\x78');
}

// Which classes and spellings the fixtures must have, so that none gets lost.
TEST(Joblib, FixturesCoverWhatIsSupported) {
  const std::string regressors = read_file(fixtures() / "numpy2_regressors.joblib");
  for (const char* name : {"RidgeCV", "LinearRegression", "Lasso", "ElasticNet", "BayesianRidge",
                           "HuberRegressor", "SGDRegressor", "LinearSVR", "TheilSenRegressor"}) {
    EXPECT_THAT(regressors, HasSubstr(name));
  }
  const std::string plain = read_file(fixtures() / "numpy2_pickle_protocol4.joblib");
  EXPECT_THAT(plain, HasSubstr("_reconstruct"));
  EXPECT_THAT(read_file(fixtures() / "numpy1_pickle_protocol5.joblib"), HasSubstr("_frombuffer"));
  EXPECT_THAT(read_file(fixtures() / "numpy1_pickle_protocol0.joblib"), HasSubstr("copy_reg"));
  EXPECT_THAT(read_file(fixtures() / "numpy2_frame.joblib"), HasSubstr("feature_names_in_"));
  EXPECT_EQ(read_file(fixtures() / "numpy2_compressed_xz.joblib").substr(1, 5),
            "7zXZ" + std::string(1, '\0'));
  EXPECT_EQ(read_file(fixtures() / "numpy2_compressed_bz2.joblib").substr(0, 3), "BZh");
  EXPECT_EQ(read_file(fixtures() / "numpy2_compressed_lzma.joblib")[0], ']');
  EXPECT_EQ(read_file(fixtures() / "numpy2_compressed_gzip.joblib")[0], '\x1f');
}

TEST(Joblib, NamesWhatIsNotALinearRegressorAndSaysWhatToDo) {
  const std::pair<const char*, std::vector<const char*>> cases[] = {
      {"pipeline", {"\"sklearn.pipeline.Pipeline\"", "plain embeddings", "StandardScaler"}},
      {"search", {"GridSearchCV", "best_estimator_"}},
      {"forest", {"RandomForestRegressor", "LinearRegression"}},
      {"mixed", {"sklearn.pipeline.Pipeline", "plain embeddings"}},
      {"lz4", {"lz4", "joblib.dump(value, file)"}},
  };
  for (const char* version : {"numpy1", "numpy2"}) {
    for (const auto& [name, parts] : cases) {
      const std::string file = std::string(version) + "_refused_" + name + ".joblib";
      for (const char* part : parts) {
        expect_refused(read_file(fixtures() / file), ErrorCode::kBadCheckpoint, part);
      }
    }
  }
}

TEST(Joblib, EveryPrefixIsRefused) {
  for (const char* name :
       {"numpy2_float32_one.joblib", "numpy1_float64_protocol2.joblib", "numpy2_one_budget.joblib",
        "numpy2_float32_zlib.joblib", "numpy2_intercept_1d_array.joblib",
        "numpy2_compressed_gzip.joblib", "numpy2_compressed_bz2.joblib",
        "numpy2_compressed_xz.joblib", "numpy2_compressed_lzma.joblib",
        "numpy1_pickle_protocol0.joblib", "numpy2_pickle_protocol1.joblib",
        "numpy2_pickle_protocol5.joblib", "numpy2_frame.joblib"}) {
    const std::string bytes = read_file(fixtures() / name);
    ASSERT_NO_THROW(read_all(bytes));
    for (std::size_t size = 0; size < bytes.size(); ++size) {
      // A separate copy, so that the address sanitizer detects a read past the end.
      const std::string prefix = bytes.substr(0, size);
      try {
        read_all(prefix);
        ADD_FAILURE() << name << " cut to " << size << " bytes was read";
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), ErrorCode::kBadCheckpoint) << error.what();
        ASSERT_TRUE(error.where().byte_offset.has_value());
      }
    }
  }
}

/// Tries all `changes` to every byte of a fixture; returns how many of the results were refused.
std::size_t refused_changes(const char* fixture, const std::vector<int>& changes) {
  const std::string original = read_file(fixtures() / fixture);
  std::size_t refused = 0;
  for (std::size_t i = 0; i < original.size(); ++i) {
    std::string bytes = original;
    for (const int change : changes) {
      bytes[i] = static_cast<char>(original[i] ^ change);
      try {
        read_all(bytes);
      } catch (const Error&) {
        ++refused;
      }
    }
  }
  return refused;
}

TEST(Joblib, EveryChangedByteIsReadOrRefused) {
  std::vector<int> all(255);
  std::iota(all.begin(), all.end(), 1);
  const std::vector<int> bits = {1, 2, 4, 8, 16, 32, 64, 128};
  // Only a changed coefficient, or an attribute that nobody looks at, can go unseen.
  EXPECT_GT(refused_changes("numpy2_float32_one.joblib", all), 255u * 569 / 2);
  EXPECT_GT(refused_changes("numpy1_float64_protocol2.joblib", bits), 8u * 652 / 2);
  // Compressed data has a checksum: only its few unused bits can.
  EXPECT_GT(refused_changes("numpy2_float32_zlib.joblib", bits), 8u * 636 - 16);
}

// ---- Files that a test spells out itself.

struct Array {
  std::string type = "f4";
  std::string byte_order = "<";
  std::vector<std::int32_t> shape = {3};
  std::string content = std::string("\0\0\x80\x3f\0\0\0\x40\0\0\x40\x40", 12);  // 1, 2, 3
  std::string order = "C";
  bool aligned = true;
};

void write_dtype(PickleWriter& out, const std::string& type, const std::string& byte_order) {
  out.global("numpy", "dtype").text(type).raw("\x89\x88\x87R");
  out.raw("(").integer(3).text(byte_order).raw("NNN");
  out.integer(-1).integer(-1).integer(0).raw("tb");
}

void write_array(PickleWriter& out, const Array& array) {
  out.global("joblib.numpy_pickle", "NumpyArrayWrapper").raw(")\x81}(");
  out.text("subclass").global("numpy", "ndarray");
  out.text("shape").raw("(");
  for (const std::int32_t extent : array.shape) out.integer(extent);
  out.raw("t").text("order").text(array.order).text("dtype");
  write_dtype(out, array.type, array.byte_order);
  if (array.aligned) out.text("numpy_array_alignment_bytes").integer(16);
  out.raw("ub");
  if (array.aligned) {
    const std::size_t padding = 16 - (out.size() + 1) % 16;
    out.number(padding, 1).repeat("\xff", padding);
  }
  out.raw(array.content);
}

/// An intercept of NumPy's: scalar(dtype, bytes).
PickleWriter scalar(const std::string& type, const std::string& content) {
  PickleWriter out;
  out.global("numpy._core.multiarray", "scalar");
  write_dtype(out, type, "<");
  return out.raw("C").number(content.size(), 1).raw(content).raw("\x86R");
}

void write_ridge(PickleWriter& out, const Array& array, std::string_view intercept = "K\x05") {
  out.global("sklearn.linear_model._ridge", "Ridge").raw(")\x81}(").text("coef_");
  write_array(out, array);
  out.text("intercept_").raw(intercept).raw("ub");
}

std::string ridge(const Array& array, std::string_view intercept = "K\x05") {
  PickleWriter out;
  out.header();
  write_ridge(out, array, intercept);
  return out.raw(".").bytes;
}

TEST(Joblib, ReadsWhatTheseTestsSpell) {
  for (const Array& array : {Array{}, Array{.aligned = false}, Array{.shape = {1, 3}},
                             Array{.shape = {1, 3}, .order = "F"}}) {
    const std::string bytes = ridge(array);
    const RegressorFile file(as_bytes(bytes), "spelled");
    ASSERT_EQ(file.heads().size(), 1u);
    EXPECT_EQ(coefficients(file, file.heads()[0]), (std::vector<double>{1, 2, 3}));
    EXPECT_EQ(file.heads()[0].intercept, 5);
  }
  const std::string bytes = ridge({}, scalar("f4", std::string("\0\0\x20\xc0", 4)).bytes);
  EXPECT_EQ(RegressorFile(as_bytes(bytes), "spelled").heads()[0].intercept, -2.5);
}

TEST(Joblib, AMovedFileStillHoldsItsDecompressedBytes) {
  const std::string bytes = compress(ridge({}));
  RegressorFile first(as_bytes(bytes), "spelled");
  const RegressorFile second = std::move(first);
  EXPECT_EQ(coefficients(second, second.heads()[0]), (std::vector<double>{1, 2, 3}));
}

TEST(Joblib, RefusesOtherElementTypes) {
  const auto bad = ErrorCode::kBadCheckpoint;
  expect_refused(ridge({.byte_order = "="}), bad, "byte order \"=\"");
  expect_refused(ridge({.type = "O8"}), bad, "a pickle of protocol 2 to 5");
  expect_refused(ridge({.type = "f16"}), bad, "\"f16\"");
  expect_refused(ridge({.type = "V4"}), bad, "\"V4\"");
  expect_refused(ridge({.type = "i4"}), bad, "elements of the type \"i4\"");
}

TEST(Joblib, ReadsHalfPrecisionAndTheOtherByteOrder) {
  const auto numbers = [](const Array& array) {
    const std::string bytes = ridge(array);
    const RegressorFile file(as_bytes(bytes), "spelled");
    EXPECT_FALSE(file.heads()[0].is_float64());
    return coefficients(file, file.heads()[0]);
  };
  // 1, −2, the largest, the smallest normal and the smallest number.
  EXPECT_EQ(numbers({.type = "f2",
                     .shape = {5},
                     .content = std::string("\x00\x3c\x00\xc0\xff\x7b\x00\x04\x01\x00", 10)}),
            (std::vector<double>{1, -2, 65504, 0x1p-14, 0x1p-24}));
  EXPECT_EQ(numbers({.type = "f2",
                     .byte_order = ">",
                     .shape = {1},
                     .content = "\x3c" + std::string(1, '\0')}),
            (std::vector<double>{1}));
  EXPECT_EQ(numbers({.byte_order = ">", .shape = {1}, .content = std::string("\xc0\x20\0\0", 4)}),
            (std::vector<double>{-2.5}));
  // Infinity and NaN of half precision.
  for (const char* high : {"\x7c", "\xfc", "\x7e"}) {
    expect_refused(ridge({.type = "f2", .shape = {1}, .content = std::string(1, '\0') + high}),
                   ErrorCode::kBadCheckpoint, "coefficient 0 is not a finite");
  }
}

TEST(Joblib, RefusesShapesThatAreNoVectorOrDoNotFit) {
  const auto bad = ErrorCode::kBadCheckpoint;
  expect_refused(ridge({.shape = {3, 1}}), bad, "several rows");
  expect_refused(ridge({.shape = {}, .content = "1234"}), bad, "0 dimensions");
  expect_refused(ridge({.shape = {1, 1, 3}}), bad, "3 dimensions");
  expect_refused(ridge({.shape = {-3}}), bad, "the integer -3");
  // 2^31 − 1 elements, and a product that overflows 64 bits to a small number.
  expect_refused(ridge({.shape = {INT32_MAX}}), bad, "larger than the file");
  expect_refused(ridge({.shape = {1 << 30, 1 << 30, 16}}), bad, "larger than the file");
  // Fits the file as a whole, but not what is left of it.
  expect_refused(ridge({.shape = {60}}), bad, "the file ends within an array");
  // Too short an array: the pickle goes on within its bytes.
  EXPECT_THROW(read_all(ridge({.shape = {2}})), Error);
}

TEST(Joblib, RefusesWrongPadding) {
  const std::string good = ridge({});
  const std::size_t array = good.find(Array{}.content);
  const std::size_t count = good.find_last_not_of('\xff', array - 1);
  ASSERT_EQ(static_cast<std::size_t>(good[count]), array - count - 1);
  for (const int change : {1, 2, 16, 128}) {
    std::string bytes = good;
    bytes[count] = static_cast<char>(bytes[count] ^ change);
    expect_refused(bytes, ErrorCode::kBadCheckpoint, "array padding", count);
  }
  // A multiple of 16 as well, but more than the writer would put there.
  std::string bytes = good;
  bytes[count] = static_cast<char>(bytes[count] + 16);
  expect_refused(bytes, ErrorCode::kBadCheckpoint, "array padding", count);
}

TEST(Joblib, RefusesNumbersThatAreNotFinite) {
  const auto bad = ErrorCode::kBadCheckpoint;
  const std::string nan = std::string("\0\0\xc0\x7f", 4);
  const std::string infinity = std::string("\0\0\x80\xff", 4);
  for (const std::string& value : {nan, infinity}) {
    Array array;
    array.content.replace(4, 4, value);
    const std::string bytes = ridge(array);
    expect_refused(bytes, bad, "the regressor: coefficient 1 ", bytes.find(array.content) + 4);
    expect_refused(ridge({}, scalar("f4", value).bytes), bad, "the intercept is not");
  }
  expect_refused(ridge({}, std::string_view("G\x7f\xf0\0\0\0\0\0\0", 9)), bad, "the intercept");

  PickleWriter dict;
  dict.header().raw("}").text("30_score");
  Array array;
  array.content.replace(8, 4, nan);
  write_ridge(dict, array);
  expect_refused(dict.raw("s.").bytes, bad, "the regressor \"30_score\": coefficient 2 ");
}

TEST(Joblib, RefusesOtherIntercepts) {
  const auto bad = ErrorCode::kBadCheckpoint;
  expect_refused(ridge({}, "N"), bad, "found None");
  expect_refused(ridge({}, "\x88"), bad, "found True");
  expect_refused(ridge({}, scalar("f8", "1234").bytes), bad, "4 bytes of the type \"f8\"");
  expect_refused(ridge({}, scalar("f4", "").bytes), bad, "0 bytes of the type \"f4\"");
  expect_refused(ridge({}, scalar("i4", "1234").bytes), bad, "the type \"i4\"");
}

TEST(Joblib, RefusesWhatIsNoRidge) {
  const auto bad = ErrorCode::kBadCheckpoint;
  const auto file = [](std::string_view body) {
    return PickleWriter{}.header().raw(body).raw(".").bytes;
  };
  expect_refused(file("N"), bad, "found None");
  expect_refused(file(PickleWriter{}.raw("}").text("10_score").integer(1).raw("s").bytes), bad,
                 "found the integer 1");
  expect_refused(file(PickleWriter{}.global("sklearn.linear_model._ridge", "Ridge").bytes), bad,
                 "found the global");
  expect_refused(
      file(PickleWriter{}.global("sklearn.linear_model._ridge", "Ridge").raw(")\x81").bytes), bad,
      "no dict of attributes");
  expect_refused(
      file(PickleWriter{}.global("sklearn.linear_model._ridge", "Ridge").raw(")\x81}b").bytes), bad,
      "no attribute \"coef_\"");
  expect_refused(
      file(PickleWriter{}.global("joblib.numpy_pickle", "NumpyArrayWrapper").raw(")\x81}b").bytes),
      bad, "no attribute \"subclass\"");
  expect_refused(file(scalar("f4", "1234").bytes), bad, "multiarray.scalar object");
}

TEST(Joblib, RefusesWhatWouldRunCode) {
  // What joblib.load() would do with the first: import posix and run its function system.
  const PickleWriter system = PickleWriter{}.header().text("posix").text("system");
  expect_refused(PickleWriter(system).raw("\x93").text("id").raw("\x85R.").bytes,
                 ErrorCode::kUnsafe, "\"posix.system\"", system.size());
  std::string other = ridge({});
  other.replace(other.find("Ridge"), 5, "Rigid");
  expect_refused(other, ErrorCode::kBadCheckpoint, "\"sklearn.linear_model._ridge.Rigid\"");
  const PickleWriter array = PickleWriter{}.header().global("numpy", "ndarray").raw(")");
  expect_refused(PickleWriter(array).raw("R.").bytes, ErrorCode::kUnsafe, "numpy.ndarray",
                 array.size());
  const PickleWriter codec = PickleWriter{}.header().global("_codecs", "encode").raw(")");
  expect_refused(PickleWriter(codec).raw("\x81.").bytes, ErrorCode::kUnsafe, "_codecs.encode",
                 codec.size());
}

TEST(Joblib, InterpretsOnlyLatin1OfTheCodecs) {
  const auto intercept = [](std::string_view text, std::string_view encoding) {
    PickleWriter out;
    out.global("numpy.core.multiarray", "scalar");
    write_dtype(out, "f4", "<");
    out.global("_codecs", "encode").text(text).text(encoding).raw("\x86R\x86R");
    return ridge({}, out.bytes);
  };
  // Bytes 00 00 80 bf as text: −1.
  const std::string bytes = intercept(std::string_view("\0\0\xc2\x80\xc2\xbf", 6), "latin1");
  EXPECT_EQ(RegressorFile(as_bytes(bytes), "spelled").heads()[0].intercept, -1);
  expect_refused(intercept("1234", "rot13"), ErrorCode::kBadCheckpoint, "_codecs.encode");
  expect_refused(intercept("12\xc4\x80\x80", "latin1"), ErrorCode::kBadCheckpoint, "not Latin-1");
  expect_refused(intercept("123\xc3", "latin1"), ErrorCode::kBadCheckpoint, "not Latin-1");
  expect_refused(intercept("123\x80", "latin1"), ErrorCode::kBadCheckpoint, "not Latin-1");
}

TEST(Joblib, HeadsMayNotShareAnArray) {
  // One regressor under many keys: 1,000 heads of 12 bytes each from a file that is much smaller
  // would be harmless, but a thousand heads of 60 MB would not.
  Array array{.shape = {3000}, .content = std::string(12000, '\0')};
  PickleWriter out;
  out.header().raw("}(").text("1_score");
  write_ridge(out, array);
  out.raw("\x94");
  for (int i = 2; i < 10; ++i) out.text(std::to_string(i) + "_score").raw("h").number(0, 1);
  expect_refused(out.raw("u.").bytes, ErrorCode::kBadCheckpoint, "share one array");
}

TEST(Joblib, RefusesBrokenCompression) {
  const auto bad = ErrorCode::kBadCheckpoint;
  const std::string good = compress(ridge({}));
  ASSERT_NO_THROW(read_all(good));
  expect_refused(good.substr(0, good.size() - 1), bad, "ends too early", good.size() - 1);
  expect_refused(good + "x", bad, "1 bytes follow", good.size());
  std::string wrong_sum = good;
  wrong_sum.back() = static_cast<char>(wrong_sum.back() ^ 1);
  expect_refused(wrong_sum, bad, "corrupt");
  expect_refused(compress(good), bad, "0x78", 0);  // not twice
}

TEST(Joblib, RefusesAZlibBombBeforeItTakesTheMemory) {
  // 96 MiB of zeros in less than 1 MB, written piece by piece.
  z_stream stream{};
  ASSERT_EQ(deflateInit(&stream, 1), Z_OK);
  std::string zeros(1 << 20, '\0');
  std::string bomb(1 << 20, '\0');
  stream.next_out = reinterpret_cast<Bytef*>(bomb.data());
  stream.avail_out = static_cast<uInt>(bomb.size());
  for (int i = 0; i < 96; ++i) {
    stream.next_in = reinterpret_cast<Bytef*>(zeros.data());
    stream.avail_in = static_cast<uInt>(zeros.size());
    ASSERT_EQ(deflate(&stream, i == 95 ? Z_FINISH : Z_NO_FLUSH), i == 95 ? Z_STREAM_END : Z_OK);
  }
  bomb.resize(stream.total_out);
  deflateEnd(&stream);
  ASSERT_LT(bomb.size(), std::size_t{1} << 20);
  try {
    read_all(bomb);
    FAIL() << "was read";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kBadCheckpoint);
    EXPECT_THAT(error.what(), HasSubstr("more than 67108864 bytes"));
    // It stopped there: a third of the input is left.
    EXPECT_LT(*error.where().byte_offset, bomb.size() * 3 / 4);
  }
}

TEST(Joblib, RefusesDamageOfEveryCompression) {
  for (const char* name : {"gzip", "bz2", "xz"}) {
    const std::string good =
        read_file(fixtures() / ("numpy2_compressed_" + std::string(name) + ".joblib"));
    expect_refused(good + "x", ErrorCode::kBadCheckpoint, "1 bytes follow", good.size());
    // Each has a checksum.
    std::string bad = good;
    bad[good.size() / 2] = static_cast<char>(bad[good.size() / 2] ^ 0x10);
    EXPECT_THROW(read_all(bad), Error) << name;
  }
}

#ifdef R2ROUTER_HAS_LZMA
TEST(Joblib, RefusesAnXzFileThatNeedsTooMuchMemory) {
  // The .lzma header asks for a dictionary of 2 GiB.
  std::string bytes = read_file(fixtures() / "numpy2_compressed_lzma.joblib");
  bytes.replace(1, 4, std::string("\0\0\0\x80", 4));
  expect_refused(bytes, ErrorCode::kBadCheckpoint, "too much memory");
}

TEST(Joblib, RefusesAnXzBombBeforeItTakesTheMemory) {
  std::string zeros(std::size_t{80} << 20, '\0');
  std::string bomb(1 << 20, '\0');
  std::size_t size = 0;
  ASSERT_EQ(lzma_easy_buffer_encode(
                0, LZMA_CHECK_CRC32, nullptr, reinterpret_cast<const std::uint8_t*>(zeros.data()),
                zeros.size(), reinterpret_cast<std::uint8_t*>(bomb.data()), &size, bomb.size()),
            LZMA_OK);
  expect_refused(std::string_view(bomb).substr(0, size), ErrorCode::kBadCheckpoint,
                 "more than 67108864 bytes");
}
#endif

TEST(Joblib, RegressorsMayNotShareAText) {
  // In protocol 2 an array's bytes are a text that must be decoded. One shared by many regressors
  // would be decoded for each of them.
  PickleWriter out;
  out.header(2).raw("}(").text("1_score");
  out.global("sklearn.linear_model._ridge", "Ridge").raw(")\x81}(").text("coef_");
  out.global("numpy.core.multiarray", "_reconstruct").global("numpy", "ndarray");
  out.integer(0)
      .raw("\x85")
      .raw(
          "C\x01"
          "b\x87R(K\x01")
      .integer(25)
      .raw("\x85");
  write_dtype(out, "f4", "<");
  out.raw("\x89").global("_codecs", "encode").text(std::string(100, '\0')).text("latin1");
  out.raw("\x86Rtb").text("intercept_").raw("K\x05ub\x94");
  for (int i = 2; i < 20; ++i) out.text(std::to_string(i) + "_score").raw("h").number(0, 1);
  expect_refused(out.raw("u.").bytes, ErrorCode::kBadCheckpoint, "share");
}

}  // namespace
}  // namespace r2router::io
