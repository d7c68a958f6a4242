// Replies as text: JSON lines for programs, facts and rules for people.
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "r2router/decision.h"
#include "r2router/pipeline.h"

#include "base/text_layout.h"

namespace r2router {
namespace {

class JsonLines final : public ReplySink {
 public:
  JsonLines(std::function<void(std::string_view)> write, const ReplyFormat& format)
      : write_(std::move(write)), format_(format) {}

  void reply(const Reply& reply) override { write_(to_json_line(reply, format_.all_options)); }

 private:
  const std::function<void(std::string_view)> write_;
  const ReplyFormat format_;
};

class TextForPeople final : public ReplySink {
 public:
  TextForPeople(std::function<void(std::string_view)> write, const ReplyFormat& format)
      : write_(std::move(write)), format_(format) {}

  void begin_answer(const QueryItem& item, const Decision& decision) override {
    decided(item, decision);
    rule();
  }

  void piece(std::string_view text) override {
    if (text.empty()) return;
    write_(printable(text));
    open_line_ = !text.ends_with('\n');
  }

  void reply(const Reply& reply) override {
    if (reply.error) {
      write_("\n");
      if (!reply.item.query.text.empty()) fact("Query", reply.item.query.text);
      fact(format_.answers ? "Not answered" : "Not routed", printable(reply.error->what()));
    } else if (reply.completion) {
      answered(*reply.decision, *reply.completion);
    } else {
      decided(reply.item, *reply.decision);
    }
  }

 private:
  void fact(std::string_view label, std::string_view value) {
    write_(fact_line(label, value, kFactColumn));
  }
  void rule() { write_(std::string(72, '-') + '\n'); }

  void decided(const QueryItem& item, const Decision& decision) {
    // The candidates are the same for every query, so they are listed once.
    if (!std::exchange(listed_, true)) write_(candidates_text(decision));
    if (!format_.one_query) {
      write_("\n");
      item.row ? fact("Row", std::to_string(*item.row)) : fact("Query", item.query.text);
    }
    write_(to_text(decision));
    if (format_.all_options) write_('\n' + ranking_text(decision));
  }

  void answered(const Decision& decision, const llm::Completion& completion) {
    if (std::exchange(open_line_, false)) write_("\n");
    if (!completion.text.empty() || !completion.failure) rule();
    if (!completion.attempts.empty()) write_(to_text(completion, *decision.pool));
    if (completion.failure && !format_.one_query) {
      fact("Not answered", printable(completion.failure->message));
    }
  }

  const std::function<void(std::string_view)> write_;
  const ReplyFormat format_;
  bool listed_ = false;     // the candidates are printed
  bool open_line_ = false;  // the last piece has not ended its line
};

}  // namespace

std::unique_ptr<ReplySink> print_replies(std::function<void(std::string_view)> write,
                                         const ReplyFormat& format) {
  if (format.json) return std::make_unique<JsonLines>(std::move(write), format);
  return std::make_unique<TextForPeople>(std::move(write), format);
}

}  // namespace r2router
