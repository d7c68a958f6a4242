#include "cli/reply_printer.h"

#include "cli/answer_text.h"
#include "cli/decision_text.h"

namespace r2router::cli {

void ReplyPrinter::decision(const ReplyLabel& label, const Decision& decision) {
  if (form_ == Form::kJson) {
    output_.write(decision_json(label.query, decision, verbose_));
    return;
  }
  // The candidates are the same for every query, so they are listed once.
  if (first_) output_.write(candidates_text(decision));
  first_ = false;
  if (several_ && label.query.query) {
    output_.write("\nQuery:             " + std::string(*label.query.query) + '\n');
  } else if (several_ && label.query.row) {
    output_.write("\nRow:               " + std::to_string(*label.query.row) + '\n');
  }
  output_.write(decision_text(decision));
  if (decision.explanation) output_.write(explanation_text(decision));
  if (verbose_) output_.write("\n" + ranking_text(decision));
}

void ReplyPrinter::answer(const ReplyLabel& label, const Decision& decision,
                          const llm::Completion& completion) {
  if (form_ == Form::kText) {
    begin_answer(label, decision);
    piece(completion.text);
    end_answer(decision, completion);
  } else if (completion.failure) {
    output_.write(failure_json(label.query, label.line, completion, *decision.pool));
  } else {
    output_.write(answer_json(label.query, decision, completion, verbose_));
  }
}

void ReplyPrinter::error(const ReplyLabel& label, std::string_view what, std::string_view message) {
  if (form_ == Form::kJson) {
    output_.write(error_json(label.query.id, message, label.line.value_or(0)));
    return;
  }
  output_.write("\n");
  if (label.query.query) {
    output_.write("Query:             " + std::string(*label.query.query) + '\n');
  }
  std::string title = std::string(what) + ':';
  title.resize(19, ' ');
  output_.write(title + printable(message) + '\n');
}

void ReplyPrinter::begin_answer(const ReplyLabel& label, const Decision& decision) {
  this->decision(label, decision);
  output_.write(answer_rule());
}

void ReplyPrinter::piece(std::string_view text) {
  if (text.empty()) return;
  output_.write(printable(text));
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
