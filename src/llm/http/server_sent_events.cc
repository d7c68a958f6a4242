#include "llm/http/server_sent_events.h"

namespace r2router::net {

bool EventParser::feed(std::string_view piece, const OnEvent& on_event) {
  stopped_ = false;
  // The LF of a CR LF that was cut in two has nothing more to end.
  if (after_cr_ && !piece.empty()) {
    if (piece.front() == '\n') piece.remove_prefix(1);
    after_cr_ = false;
  }
  while (!piece.empty()) {
    const std::size_t end = piece.find_first_of("\r\n");
    if (end == piece.npos) {
      if (line_.size() + piece.size() > limit_) return false;
      line_ += piece;
      return true;
    }
    bool fits = false;
    if (line_.empty()) {
      fits = end_line(piece.substr(0, end), on_event);
    } else {
      if (line_.size() + end > limit_) return false;  // before memory is taken
      line_ += piece.substr(0, end);
      fits = end_line(line_, on_event);
      line_.clear();
    }
    if (!fits) return false;
    if (stopped_) return true;
    const bool cr = piece[end] == '\r';
    piece.remove_prefix(end + 1);
    if (!cr) continue;
    if (piece.empty()) {
      after_cr_ = true;
    } else if (piece.front() == '\n') {
      piece.remove_prefix(1);
    }
  }
  return true;
}

bool EventParser::end_line(std::string_view line, const OnEvent& on_event) {
  if (line.size() > limit_) return false;
  if (at_start_) {
    at_start_ = false;
    if (line.starts_with("\xEF\xBB\xBF")) line.remove_prefix(3);  // a byte order mark
  }
  if (line.empty()) {
    if (data_.empty()) return true;
    stopped_ = !on_event(std::string_view(data_).substr(0, data_.size() - 1));
    data_.clear();
    return true;
  }
  const std::size_t colon = line.find(':');
  if (line.substr(0, colon) != "data") return true;  // a comment has an empty name
  std::string_view value = colon == line.npos ? std::string_view() : line.substr(colon + 1);
  if (value.starts_with(' ')) value.remove_prefix(1);
  if (data_.size() + value.size() + 1 > limit_) return false;
  data_ += value;
  data_ += '\n';
  return true;
}

}  // namespace r2router::net
