#include "r2router/pipeline.h"

#include <atomic>
#include <chrono>
#include <cstddef>
#include <fstream>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <variant>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "support/errors.h"
#include "support/heads.h"
#include "support/temporary_folder.h"

namespace r2router {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using testing::expect_error;
using ::testing::HasSubstr;

constexpr std::size_t kDimension = 16;

class OwnEncoder final : public Encoder {
 public:
  std::size_t dimension() const override { return kDimension; }
  void embed(std::span<const std::string_view> texts, std::span<float> out,
             const std::stop_token&) const override {
    batches.push_back(texts.size());
    for (std::size_t i = 0; i < texts.size(); ++i) {
      for (std::size_t k = 0; k < kDimension; ++k) {
        out[i * kDimension + k] = static_cast<float>(texts[i][k % texts[i].size()]) / 100;
      }
    }
  }
  mutable std::vector<std::size_t> batches;
};

/// The answer to "N" is "answer to N", and takes the longer the smaller N is.
class SlowClient final : public llm::Client {
 public:
  llm::Completion complete(const llm::ChatRequest& request,
                           const llm::CallOptions& options) const override {
    const std::string& text = request.messages.back().content;
    std::this_thread::sleep_for(std::chrono::milliseconds(text.size() < 2 ? 20 : 1));
    if (text == "fail") {
      return {.failure = Failure{.code = ErrorCode::kRefused, .message = "will not"},
              .attempts = {llm::Attempt{.error = ErrorCode::kRefused}}};
    }
    if (options.on_text) options.on_text("answer ");
    if (options.on_text) options.on_text("to " + text);
    return {.text = "answer to " + text, .attempts = {llm::Attempt{.http_status = 200}}};
  }
  double default_timeout() const override { return 10; }
};

class Items final : public QuerySource {
 public:
  explicit Items(std::vector<QueryItem> items) : items_(std::move(items)) {}
  void read(const std::function<bool(QueryItem)>& take,
            const std::function<void()>& before_wait) override {
    for (const QueryItem& item : items_) {
      if (item.id == "wait") {
        before_wait();
      } else if (!take(item)) {
        return;
      }
      ++taken;
    }
  }
  std::size_t taken = 0;

 private:
  std::vector<QueryItem> items_;
};

class Kept final : public ReplySink {
 public:
  void reply(const Reply& reply) override {
    EXPECT_FALSE(busy_.exchange(true)) << "two replies at the same time";
    replies.push_back(reply);
    events += reply.ok() ? "r" : "e";
    if (on_reply) on_reply();
    busy_ = false;
  }
  void begin_answer(const QueryItem&, const Decision&) override { events += "b"; }
  void piece(std::string_view) override { events += "p"; }
  void flush() override { events += "f"; }

  std::vector<Reply> replies;
  std::string events;
  std::function<void()> on_reply;

 private:
  std::atomic<bool> busy_ = false;
};

class Pipeline : public ::testing::Test {
 protected:
  static QueryItem text(const std::string& text) {
    return {.query = {.text = text}, .options = {.rank = true}};
  }

  const std::shared_ptr<OwnEncoder> encoder_ = std::make_shared<OwnEncoder>();
  const Router router_{testing::random_checkpoint(3, 2, kDimension, 91), {.encoder = encoder_}};
  Kept sink_;
};

TEST_F(Pipeline, RoutesInBatchesAndReportsInOrder) {
  std::vector<QueryItem> items;
  for (int i = 0; i < 10; ++i) items.push_back(text("query " + std::to_string(i)));
  items[4].error = Error(ErrorCode::kBadData, "cannot be read");
  items[7].query.text = " ";
  items.insert(items.begin() + 2, {.id = "wait"});
  Items source(items);
  const PipelineResult result = run_pipeline(router_, source, sink_, {.batch_queries = 4});
  EXPECT_EQ(result.succeeded, 8U);
  EXPECT_EQ(result.failed, 2U);
  EXPECT_FALSE(result.stopped);
  EXPECT_EQ(sink_.events, "rrfrrerrerrf");
  EXPECT_THAT(encoder_->batches, ElementsAre(2, 3, 3));
}

TEST_F(Pipeline, AnswersAreReportedInTheOrderOfTheQueries) {
  std::vector<QueryItem> items;
  for (int i = 0; i < 30; ++i) items.push_back(text(std::to_string(i)));
  items[3].query.text = "fail";
  items[5].error = Error(ErrorCode::kBadData, "cannot be read");
  Items source(items);
  const PipelineResult result = run_pipeline(
      router_, source, sink_, {.client = std::make_shared<SlowClient>(), .concurrency = 7});
  EXPECT_EQ(result.succeeded, 28U);
  EXPECT_EQ(result.failed, 2U);
  ASSERT_EQ(sink_.replies.size(), 30U);
  for (std::size_t i = 0; i < 30; ++i) {
    const Reply& reply = sink_.replies[i];
    if (i == 5) {
      EXPECT_STREQ(reply.error->what(), "cannot be read");
    } else {
      EXPECT_EQ(reply.item.query.text, items[i].query.text);
      EXPECT_EQ(reply.completion->ok(), i != 3);
      if (i != 3) {
        EXPECT_EQ(reply.completion->text, "answer to " + items[i].query.text);
      }
    }
  }
}

TEST_F(Pipeline, RoutesTheRowsOfAMatrix) {
  const std::vector<float> rows = testing::random_embeddings(3, kDimension, 5);
  for (const bool wide : {false, true}) {
    std::variant<std::vector<float>, std::vector<double>> values = rows;
    if (wide) values = std::vector<double>(rows.begin(), rows.end());
    Kept sink;
    const auto source = embedding_rows(values, kDimension, {.size = {.input_tokens = 7}});
    run_pipeline(router_, *source, sink, {.batch_queries = 2, .same_options = true});
    ASSERT_EQ(sink.replies.size(), 3U);
    for (std::size_t row = 0; row < 3; ++row) {
      const Reply& reply = sink.replies[row];
      EXPECT_EQ(reply.item.row, row);
      const Decision expected = router_.route(std::span(rows).subspan(row * kDimension, kDimension),
                                              {}, {.input_tokens = 7});
      EXPECT_EQ(reply.decision->chosen.model, expected.chosen.model);
      EXPECT_EQ(reply.decision->chosen.cost_usd, expected.chosen.cost_usd);
      EXPECT_EQ(json::parse(to_json_line(reply)).at("row"), row);
    }
  }
}

TEST_F(Pipeline, ThrowsAnErrorOfOptionsThatAllQueriesHave) {
  std::vector<QueryItem> items = {text("1"), text("2")};
  for (QueryItem& item : items) item.options.policy.lambda = 2;
  Items source(items);
  expect_error(ErrorCode::kInvalidArgument, "lambda is 2",
               [&] { run_pipeline(router_, source, sink_, {.same_options = true}); });
  EXPECT_EQ(sink_.events, "f");
  run_pipeline(router_, source, sink_);
  EXPECT_EQ(sink_.events, "feef");
  // A query that cannot be read does not concern the others.
  items = {text("1"), text("2")};
  items[0].error = Error(ErrorCode::kBadData, "cannot be read");
  Items other(items);
  sink_.events.clear();
  run_pipeline(router_, other, sink_, {.same_options = true});
  EXPECT_EQ(sink_.events, "erf");
}

TEST_F(Pipeline, StreamsOneAnswerAfterTheOther) {
  Items source({text("1"), text("fail"), text("2")});
  const auto client = std::make_shared<SlowClient>();
  run_pipeline(router_, source, sink_, {.client = client, .stream = true});
  EXPECT_EQ(sink_.events, "bpprbebpprf");
  sink_.events.clear();
  run_pipeline(router_, source, sink_, {.client = client, .one_at_a_time = true});
  EXPECT_EQ(sink_.events, "bprbebprf");
}

TEST_F(Pipeline, StopsInOrder) {
  std::vector<QueryItem> items;
  for (int i = 0; i < 100; ++i) items.push_back(text("query " + std::to_string(i)));
  for (const bool answers : {false, true}) {
    Items source(items);
    std::stop_source stop;
    Kept sink;
    sink.on_reply = [&] { stop.request_stop(); };
    PipelineOptions options{.batch_queries = 3, .concurrency = 2, .stop = stop.get_token()};
    if (answers) options.client = std::make_shared<SlowClient>();
    const PipelineResult result = run_pipeline(router_, source, sink, options);
    EXPECT_TRUE(result.stopped);
    EXPECT_EQ(result.succeeded + result.failed, sink.replies.size());
    EXPECT_LT(sink.replies.size(), 20U);
    EXPECT_LT(source.taken, 30U);
  }
}

TEST_F(Pipeline, WhatTheSinkThrowsEndsTheRunAfterTheRepliesBefore) {
  Items source({text("1"), text("2"), text("3")});
  sink_.on_reply = [&] {
    if (sink_.replies.size() == 2) throw Error(ErrorCode::kIo, "the disk is full");
  };
  expect_error(ErrorCode::kIo, "full", [&] { run_pipeline(router_, source, sink_); });
  EXPECT_EQ(sink_.events, "rrf");
  expect_error(ErrorCode::kInvalidArgument, "concurrency is 0",
               [&] { run_pipeline(router_, source, sink_, {.concurrency = 0}); });
}

TEST_F(Pipeline, ReadsLinesOfTextAndOfJson) {
  const testing::TemporaryFolder folder;
  std::ofstream(folder / "queries.txt") << "first\n\n \nbad \xFF\nsecond\n";
  const SourceOptions options{.options = {.policy = {.lambda = 0.5}}, .size = {.images = 2}};
  run_pipeline(router_, *open_text_lines(folder / "queries.txt", options), sink_);
  ASSERT_EQ(sink_.replies.size(), 3U);
  EXPECT_EQ(sink_.replies[0].decision->lambda, 0.5);
  EXPECT_EQ(sink_.replies[0].decision->images, 2U);
  EXPECT_THAT(sink_.replies[1].error->what(), HasSubstr("queries.txt:4 at byte 13"));
  EXPECT_EQ(sink_.replies[2].item.line, 5U);

  std::string embedding = "[1";
  for (std::size_t i = 1; i < kDimension; ++i) embedding += ", 0.5";
  std::ofstream(folder / "queries.jsonl")
      << R"({"query": "first", "id": 7, "images": 1, "lambda": 0.25})" << '\n'
      << R"({"embedding": )" << embedding << R"(], "input_tokens": 40, "all_options": true})"
      << '\n'
      << R"({"embedding": []})" << '\n'
      << R"({"query": "third", "policy": "no/such/file"})" << '\n';
  for (const bool needs_text : {false, true}) {
    SourceOptions json_options = options;
    json_options.needs_text = needs_text;
    sink_.replies.clear();
    run_pipeline(router_, *open_json_lines(folder / "queries.jsonl", json_options), sink_);
    ASSERT_EQ(sink_.replies.size(), 4U);
    const json first = json::parse(to_json_line(sink_.replies[0]));
    EXPECT_EQ(first.at("id"), 7);
    EXPECT_FALSE(first.contains("all_options"));
    EXPECT_EQ(first.at("query"), "first");
    EXPECT_EQ(first.at("model"), sink_.replies[0].decision->model().name);
    EXPECT_EQ(sink_.replies[0].decision->lambda, 0.25);
    EXPECT_EQ(sink_.replies[0].decision->images, 1U);
    EXPECT_EQ(sink_.replies[1].ok(), !needs_text);
    if (!needs_text) {
      EXPECT_EQ(sink_.replies[1].decision->input_tokens, 40);
      const json second = json::parse(to_json_line(sink_.replies[1]));
      EXPECT_EQ(second.at("all_options").size(), sink_.replies[1].decision->ranking.size());
      EXPECT_GT(second.at("all_options").size(), 1U);
    }
    EXPECT_FALSE(sink_.replies[2].ok());
    const json fourth = json::parse(to_json_line(sink_.replies[3]));
    EXPECT_THAT(fourth.at("error").get<std::string>(), HasSubstr("policy: "));
    EXPECT_EQ(fourth.at("line"), 4);
  }
}

}  // namespace
}  // namespace r2router
