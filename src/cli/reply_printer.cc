#include "cli/reply_printer.h"

#include <string>

#include "cli/answer_text.h"
#include "cli/decision_text.h"
#include "pipeline/decision_json.h"

namespace r2router::cli {

void ReplyPrinter::reply(const Reply& reply) {
  if (form_ == Form::kJson) {
    output_.write(to_json_line(reply, verbose_));
  } else if (reply.completion) {
    if (!streamed_) piece(reply.completion->text);
    end_answer(*reply.decision, *reply.completion);
  } else {
    decision("Query:", reply.item.query.text, *reply.decision);
  }
}

void ReplyPrinter::error(const Reply& reply, std::string_view what) {
  if (form_ == Form::kJson) {
    output_.write(to_json_line(reply, verbose_));
    return;
  }
  output_.write("\n");
  if (const std::string& query = reply.item.query.text; !query.empty()) {
    output_.write("Query:             " + query + '\n');
  }
  std::string title = std::string(what) + ':';
  title.resize(19, ' ');
  output_.write(title + printable(reply.error->what()) + '\n');
}

void ReplyPrinter::row(std::uint64_t row, const Decision& decision) {
  if (form_ == Form::kJson) {
    output_.write(internal::decision_json({.row = row}, decision, verbose_));
  } else {
    this->decision("Row:", std::to_string(row), decision);
  }
}

void ReplyPrinter::decision(std::string_view title, std::string_view query,
                            const Decision& decision) {
  // The candidates are the same for every query, so they are listed once.
  if (first_) output_.write(candidates_text(decision));
  first_ = false;
  if (several_) {
    std::string line = '\n' + std::string(title);
    line.resize(20, ' ');
    output_.write(line + std::string(query) + '\n');
  }
  output_.write(decision_text(decision));
  if (decision.explanation) output_.write(explanation_text(decision));
  if (verbose_) output_.write("\n" + ranking_text(decision));
}

void ReplyPrinter::begin_answer(const QueryItem& item, const Decision& decision) {
  this->decision("Query:", item.query.text, decision);
  output_.write(answer_rule());
  streamed_ = false;
}

void ReplyPrinter::piece(std::string_view text) {
  if (text.empty()) return;
  output_.write(printable(text));
  streamed_ = true;
  line_is_open_ = !text.ends_with('\n');
}

void ReplyPrinter::end_answer(const Decision& decision, const llm::Completion& completion) {
  if (line_is_open_) output_.write("\n");
  line_is_open_ = false;
  if (!completion.text.empty() || !completion.failure) output_.write(answer_rule());
  if (!completion.attempts.empty()) output_.write(answer_facts(completion, *decision.pool));
  if (several_ && completion.failure) {
    output_.write("Not answered:      " + printable(completion.failure->message) + '\n');
  }
}

}  // namespace r2router::cli
