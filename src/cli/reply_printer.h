// Prints the result of each query, as text or JSON.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "r2router/llm/completion.h"
#include "r2router/types.h"

#include "cli/output.h"
#include "pipeline/decision_json.h"

namespace r2router::cli {

/// Identifies the query of a reply.
struct ReplyLabel {
  QueryLabel query;
  std::optional<std::uint64_t> line = {};  ///< in the input, from 1
};

/// Not thread-safe.
class ReplyPrinter {
 public:
  enum class Form { kText, kJson };

  /// `several`: print each query before its reply. `verbose`: print the other options as well.
  ReplyPrinter(Form form, bool several, bool verbose)
      : form_(form), several_(several), verbose_(verbose) {}

  /// A query that was routed.
  void decision(const ReplyLabel& label, const Decision& decision);
  /// A query that was sent to a model. It failed if completion.failure is set.
  void answer(const ReplyLabel& label, const Decision& decision, const llm::Completion& completion);
  /// A query that could not be routed or sent. `what`: for example "Not routed".
  void error(const ReplyLabel& label, std::string_view what, std::string_view message);

  /// A text answer that is printed while it arrives: begin, chunks, end.
  void begin_answer(const ReplyLabel& label, const Decision& decision);
  void piece(std::string_view text);
  void end_answer(const Decision& decision, const llm::Completion& completion);

  void flush() { output_.flush(); }

 private:
  const Form form_;
  const bool several_, verbose_;
  Output output_;
  bool first_ = true;          // nothing has been printed for people yet
  bool line_is_open_ = false;  // the last chunk did not end with a line break
};

}  // namespace r2router::cli
