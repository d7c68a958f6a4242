// Prints what became of each query, for people or as JSON.
#pragma once

#include <cstdint>
#include <string_view>

#include "r2router/pipeline.h"

#include "cli/output.h"

namespace r2router::cli {

/// Not safe for use from several threads.
class ReplyPrinter {
 public:
  enum class Form { kText, kJson };

  /// `several`: name each query before its reply. `verbose`: print the other options as well.
  ReplyPrinter(Form form, bool several, bool verbose)
      : form_(form), several_(several), verbose_(verbose) {}

  /// A query that was routed, and perhaps answered. For people, begin_answer() comes before a reply
  /// with a completion.
  void reply(const Reply& reply);
  /// One that could not be routed or asked. `what`: "Not routed", say.
  void error(const Reply& reply, std::string_view what);
  /// The embedding of that row of a file.
  void row(std::uint64_t row, const Decision& decision);

  /// An answer for people: what is printed before it, and its pieces as they come.
  void begin_answer(const QueryItem& item, const Decision& decision);
  void piece(std::string_view text);

  void flush() { output_.flush(); }

 private:
  void decision(std::string_view title, std::string_view query, const Decision& decision);
  void end_answer(const Decision& decision, const llm::Completion& completion);

  const Form form_;
  const bool several_, verbose_;
  Output output_;
  bool first_ = true;          // nothing has been printed for people yet
  bool streamed_ = false;      // a piece of the answer has been printed
  bool line_is_open_ = false;  // the last piece has not ended its line
};

}  // namespace r2router::cli
