// Columns: every layout gives the decisions of single queries, and bad rows only a reason.
#include "r2router/columns.h"

#include <cstdint>
#include <cstring>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "r2router/router.h"

#include "support/heads.h"

namespace r2router {
namespace {

constexpr std::size_t kDimension = 16;

/// An encoder whose embeddings depend on the text; it fails for a text that starts with "bad".
class LetterEncoder final : public Encoder {
 public:
  std::size_t dimension() const override { return kDimension; }
  void embed(std::span<const std::string_view> texts, std::span<float> out,
             const std::stop_token&) const override {
    for (std::size_t i = 0; i < texts.size(); ++i) fill(texts[i], out.subspan(i * kDimension));
  }
  std::vector<Rejected> embed_each(std::span<const std::string_view> texts, std::span<float> out,
                                   const std::stop_token& cancel) const override {
    embed(texts, out, cancel);
    std::vector<Rejected> rejected;
    for (std::size_t i = 0; i < texts.size(); ++i) {
      if (texts[i].starts_with("bad"))
        rejected.push_back(
            {.text = i, .failure = {.code = ErrorCode::kServer, .message = "refused"}});
    }
    return rejected;
  }

 private:
  static void fill(std::string_view text, std::span<float> out) {
    for (std::size_t j = 0; j < kDimension; ++j) out[j] = 0;
    for (std::size_t j = 0; j < text.size(); ++j) {
      out[j % kDimension] += static_cast<float>(static_cast<unsigned char>(text[j])) / 100;
    }
  }
};

Router text_router() {
  return Router(testing::random_checkpoint(5, 3, kDimension, 7),
                {.encoder = std::make_shared<const LetterEncoder>()});
}

using Texts = std::vector<std::optional<std::string>>;

const Texts kTexts = {"",
                      "What is the capital of France?",
                      std::nullopt,
                      "twelve chars",
                      " \n\t",
                      "thirteen chars",
                      "naïve façade",
                      "bad text",
                      "short",
                      std::string(100, 'x')};

/// Memory of an Arrow array that a test makes by hand.
struct Made {
  std::vector<std::uint8_t> validity;
  std::string offsets, data;
  std::vector<std::int64_t> sizes;
  std::vector<const void*> buffers;
  ArrowSchema schema = {};
  ArrowArray array = {};
};

template <typename T>
void add(std::string& bytes, T value) {
  bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
}

template <typename Value>
void finish(const std::vector<std::optional<Value>>& rows, const char* format, Made& made) {
  made.validity.assign(rows.size() / 8 + 1, 0);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    if (rows[i]) made.validity[i / 8] |= static_cast<std::uint8_t>(1U << (i % 8));
  }
  made.schema.format = format;
  made.schema.name = "prompt";
  made.array.length = static_cast<std::int64_t>(rows.size());
  made.array.null_count = -1;
  made.buffers.insert(made.buffers.begin(), made.validity.data());
  made.array.n_buffers = static_cast<std::int64_t>(made.buffers.size());
  made.array.buffers = made.buffers.data();
}

template <typename Offset>
void make_texts(const Texts& texts, const char* format, Made& made) {
  add<Offset>(made.offsets, 0);
  for (const auto& text : texts) {
    made.data += text.value_or("");
    add(made.offsets, static_cast<Offset>(made.data.size()));
  }
  made.buffers = {made.offsets.data(), made.data.data()};
  finish(texts, format, made);
}

void make_views(const Texts& texts, Made& made) {
  for (const auto& text : texts) {
    const std::string value = text.value_or("");
    add(made.offsets, static_cast<std::int32_t>(value.size()));
    if (value.size() <= 12) {
      made.offsets += value + std::string(12 - value.size(), '\0');
    } else {
      made.offsets += value.substr(0, 4);
      add<std::int32_t>(made.offsets, 0);
      add(made.offsets, static_cast<std::int32_t>(made.data.size()));
      made.data += value;
    }
  }
  made.sizes = {static_cast<std::int64_t>(made.data.size())};
  made.buffers = {made.offsets.data(), made.data.data(), made.sizes.data()};
  finish(texts, "vu", made);
}

void expect_row(const Router& router, const DecisionBatch& batch, std::size_t row,
                const Decision& decision) {
  SCOPED_TRACE(row);
  ASSERT_TRUE(batch.decided(row)) << to_string(batch.reason[row]);
  EXPECT_EQ(batch.option(row), decision.chosen);
  EXPECT_EQ(to_string(batch.reason[row]), to_string(decision.reason));
  EXPECT_EQ((*batch.pool)[batch.model[row]].name, router.pool()[decision.chosen.model].name);
}

void expect_texts(const Router& router, const Texts& texts, const DecisionBatch& batch,
                  const RouteOptions& options) {
  ASSERT_EQ(batch.size(), texts.size());
  for (std::size_t i = 0; i < texts.size(); ++i) {
    if (!texts[i]) {
      EXPECT_EQ(batch.reason[i], RowReason::kNull);
    } else if (texts[i]->find_first_not_of(" \n\t") == std::string::npos) {
      EXPECT_EQ(batch.reason[i], RowReason::kEmpty);
    } else if (texts[i]->starts_with("bad")) {
      EXPECT_EQ(batch.reason[i], RowReason::kNoEmbedding);
    } else {
      expect_row(router, batch, i, router.route_text(*texts[i], options));
    }
  }
}

TEST(Columns, TextsOfEveryLayoutAreRoutedAsAlone) {
  const Router router = text_router();
  const RouteOptions options{.policy = {.lambda = 0.99}};
  for (const std::string layout : {"u", "U", "vu"}) {
    SCOPED_TRACE(layout);
    Made made;
    if (layout == "u") make_texts<std::int32_t>(kTexts, "u", made);
    if (layout == "U") make_texts<std::int64_t>(kTexts, "U", made);
    if (layout == "vu") make_views(kTexts, made);
    expect_texts(router, kTexts, router.route(*arrow_column(made.schema, made.array), options),
                 options);
    // A slice has an offset, which the validity counts from too.
    made.array.offset = 2;
    made.array.length -= 3;
    expect_texts(router, Texts(kTexts.begin() + 2, kTexts.end() - 1),
                 router.route(*arrow_column(made.schema, made.array), options), options);
  }
}

TEST(Columns, ADictionaryIsReadThroughItsIndices) {
  const Router router = text_router();
  Made values;
  make_texts<std::int32_t>(kTexts, "u", values);
  const std::vector<std::optional<std::uint8_t>> indices = {9, 3, std::nullopt, 2, 3, 200};
  Made made;
  for (const auto& index : indices) add(made.data, index.value_or(1));
  made.buffers = {made.data.data()};
  finish(indices, "C", made);
  made.schema.dictionary = &values.schema;
  made.array.dictionary = &values.array;
  const DecisionBatch batch = router.route(*arrow_column(made.schema, made.array));
  // An index without a value counts as missing.
  expect_texts(router, {kTexts[9], kTexts[3], std::nullopt, std::nullopt, kTexts[3], std::nullopt},
               batch, {});
}

template <typename Number>
void expect_embeddings(const char* number) {
  const Router router(testing::random_checkpoint(5, 3, kDimension, 7));
  const auto random = testing::random_embeddings(300, kDimension, 8);
  std::vector<Number> numbers(random.begin(), random.end());
  numbers[5 * kDimension + 3] = std::numeric_limits<Number>::quiet_NaN();
  Made values;
  values.buffers = {numbers.data()};
  finish(std::vector<std::optional<Number>>(numbers.begin(), numbers.end()), number, values);
  std::vector<std::optional<int>> rows(300, 1);
  rows[7] = rows[299] = std::nullopt;
  ArrowSchema* types[] = {&values.schema};
  ArrowArray* children[] = {&values.array};
  for (const bool fixed : {true, false}) {
    SCOPED_TRACE(fixed);
    Made made;
    // In lists of their own lengths, the second is too short and the third empty.
    std::int32_t end = 0;
    add(made.offsets, end);
    for (std::size_t i = 0; i < rows.size(); ++i) {
      end = static_cast<std::int32_t>((i + 1) * kDimension);
      add(made.offsets, i == 1 || i == 2 ? static_cast<std::int32_t>(kDimension + 4) : end);
    }
    if (!fixed) made.buffers = {made.offsets.data()};
    finish(rows, fixed ? "+w:16" : "+l", made);
    made.schema.n_children = made.array.n_children = 1;
    made.schema.children = types;
    made.array.children = children;
    const RouteOptions options{.policy = {.lambda = 0.999}, .threads = 3};
    for (const std::int64_t offset : {0, 4}) {
      made.array.offset = offset;
      made.array.length = 300 - offset;
      const DecisionBatch batch = router.route(*arrow_column(made.schema, made.array), options);
      ASSERT_EQ(batch.size(), 300U - static_cast<std::size_t>(offset));
      for (std::size_t i = 0; i < batch.size(); ++i) {
        const std::size_t row = i + static_cast<std::size_t>(offset);
        if (row == 7 || row == 299) {
          EXPECT_EQ(batch.reason[i], RowReason::kNull);
        } else if (row == 5) {
          EXPECT_EQ(batch.reason[i], RowReason::kNotFinite);
        } else if (!fixed && row >= 1 && row <= 3) {
          EXPECT_EQ(batch.reason[i], RowReason::kWrongLength);
        } else {
          const auto embedding =
              std::span<const Number>(numbers).subspan(row * kDimension, kDimension);
          expect_row(router, batch, i, router.route(embedding, options));
        }
      }
    }
  }
}

TEST(Columns, EmbeddingsAreRoutedAsAlone) {
  expect_embeddings<float>("f");
  expect_embeddings<double>("g");
}

TEST(Columns, ARowWithoutAnOptionHasAReasonAndTheOthersGoOn) {
  const Router router = text_router();
  // Long texts cannot be paid for.
  const RouteOptions options{.policy = {.max_cost_usd = 2e-3}};
  Texts texts = {"short", std::string(10'000'000, 'x'), "short too"};
  Made made;
  make_texts<std::int32_t>(texts, "u", made);
  const DecisionBatch batch = router.route(*arrow_column(made.schema, made.array), options);
  EXPECT_THROW(router.route_text(*texts[1], options), Error);
  EXPECT_EQ(batch.reason[1], RowReason::kNoOption);
  for (const std::size_t row : {0, 2}) {
    expect_row(router, batch, row, router.route_text(*texts[row], options));
  }
  // What every row would be refused for is an error.
  EXPECT_THROW(router.route(*arrow_column(made.schema, made.array), {.policy = {.lambda = 2}}),
               Error);
  const Router without(testing::random_checkpoint(5, 3, kDimension, 7));
  EXPECT_THROW(without.route(*arrow_column(made.schema, made.array)), Error);
}

TEST(Columns, OtherTypesAreRefusedByName) {
  Made made;
  make_texts<std::int32_t>(kTexts, "l", made);
  try {
    arrow_column(made.schema, made.array);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(std::string(error.what()).find("the column \"prompt\" is of the Arrow type \"l\""),
              0U)
        << error.what();
  }
  made.schema.format = "u";
  made.array.n_buffers = 2;
  EXPECT_THROW(arrow_column(made.schema, made.array), Error);
}

TEST(Columns, ExportFollowsTheSpecification) {
  const Router router = text_router();
  Made made;
  make_texts<std::int32_t>(kTexts, "u", made);
  auto shared =
      std::make_shared<const DecisionBatch>(router.route(*arrow_column(made.schema, made.array)));
  const DecisionBatch batch = *shared;
  ArrowSchema schema;
  ArrowArray array;
  export_arrow(shared, &schema, &array);
  const double* const costs = shared->cost_usd.data();
  shared.reset();
  ASSERT_EQ(std::string(schema.format), "+s");
  ASSERT_EQ(schema.n_children, 8);
  ASSERT_EQ(array.length, static_cast<std::int64_t>(kTexts.size()));
  const ArrowArray& model = *array.children[0];
  const ArrowArray& cost = *array.children[5];
  const ArrowArray& reason = *array.children[7];
  EXPECT_EQ(std::string(schema.children[5]->name), "predicted_cost_usd");
  EXPECT_EQ(cost.buffers[1], costs) << "copied";
  EXPECT_EQ(model.null_count, 4);
  EXPECT_EQ(reason.null_count, 0);
  const auto text = [](const ArrowArray& column, std::size_t row) {
    const auto* offsets = static_cast<const std::int32_t*>(column.buffers[1]);
    return std::string(static_cast<const char*>(column.buffers[2]) + offsets[row],
                       static_cast<std::size_t>(offsets[row + 1] - offsets[row]));
  };
  for (std::size_t row = 0; row < kTexts.size(); ++row) {
    const bool present =
        (static_cast<const std::uint8_t*>(model.buffers[0])[row / 8] >> (row % 8) & 1) != 0;
    EXPECT_EQ(present, batch.decided(row));
    EXPECT_EQ(text(reason, row), to_string(batch.reason[row]));
    if (!present) continue;
    EXPECT_EQ(text(model, row), router.pool()[batch.model[row]].name);
    EXPECT_EQ(static_cast<const double*>(cost.buffers[1])[row], batch.cost_usd[row]);
  }
  // A receiver may move a child away, and releases it later.
  ArrowArray moved = *array.children[5];
  array.children[5]->release = nullptr;
  array.release(&array);
  EXPECT_EQ(array.release, nullptr);
  EXPECT_EQ(static_cast<const double*>(moved.buffers[1])[1], batch.cost_usd[1]);
  moved.release(&moved);
  schema.release(&schema);
}

TEST(Columns, ExportsNoRows) {
  ArrowSchema schema;
  ArrowArray array;
  export_arrow(std::make_shared<const DecisionBatch>(), &schema, &array);
  ASSERT_EQ(array.n_children, 8);
  for (std::int64_t i = 0; i < array.n_children; ++i) {
    const ArrowArray& column = *array.children[i];
    EXPECT_EQ(column.length, 0);
    EXPECT_EQ(column.null_count, 0);
    EXPECT_NE(column.buffers[1], nullptr) << schema.children[i]->name;
  }
  array.release(&array);
  schema.release(&schema);
}

}  // namespace
}  // namespace r2router
