// Prints what became of each query, for people or as JSON.
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

/// What tells a reply's query from the others.
struct ReplyLabel {
  QueryLabel query;
  std::optional<std::uint64_t> line = {};  ///< in the input, from 1
};

/// Not safe for use from several threads.
class ReplyPrinter {
 public:
  enum class Form { kText, kJson };

  /// `several`: name each query before its reply. `verbose`: tell the other options as well.
  ReplyPrinter(Form form, bool several, bool verbose)
      : form_(form), several_(several), verbose_(verbose) {}

  /// A query that was routed.
  void decision(const ReplyLabel& label, const Decision& decision);
  /// One that was answered, or not: completion.failure says so.
  void answer(const ReplyLabel& label, const Decision& decision, const llm::Completion& completion);
  /// One that could not be routed or asked. `what`: "Not routed", say.
  void error(const ReplyLabel& label, std::string_view what, std::string_view message);

  /// An answer for people that is printed as it comes: begin, pieces, end.
  void begin_answer(const ReplyLabel& label, const Decision& decision);
  void piece(std::string_view text);
  void end_answer(const Decision& decision, const llm::Completion& completion);

  void flush() { output_.flush(); }

 private:
  const Form form_;
  const bool several_, verbose_;
  Output output_;
  bool first_ = true;          // nothing has been printed for people yet
  bool line_is_open_ = false;  // the last piece has not ended its line
};

}  // namespace r2router::cli
