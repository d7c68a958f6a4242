#include "llm/http/server_sent_events.h"

namespace r2router::llm {

bool EventParser::feed(std::string_view piece, const OnEvent& on_event) {
  stopped_ = false;
  // Skip the LF of a CR LF that was split between chunks.
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
      if (line_.size() + end > limit_) return false;  // before allocating
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

void EventParser::finish(const OnEvent& on_event) {
  stopped_ = false;
  if (!line_.empty() && !end_line(line_, on_event)) return;
  line_.clear();
  if (!stopped_ && has_whole_data()) end_event(on_event);
}

bool EventParser::end_line(std::string_view line, const OnEvent& on_event) {
  if (line.size() > limit_) return false;
  if (at_start_) {
    at_start_ = false;
    if (line.starts_with("\xEF\xBB\xBF")) line.remove_prefix(3);  // a byte order mark
  }
  if (line.empty()) {
    end_event(on_event);
    return true;
  }
  const std::size_t colon = line.find(':');
  const std::string_view field = line.substr(0, colon);
  std::string_view value = colon == line.npos ? std::string_view() : line.substr(colon + 1);
  if (value.starts_with(' ')) value.remove_prefix(1);
  const bool begins_event = field == "data" || field == "event" || field == "error";
  // A complete object needs no more lines: the next event follows without an empty line.
  if (begins_event && has_whole_data()) {
    end_event(on_event);
    if (stopped_) return true;
  }
  if (field == "data") return add_data(value);
  if (field == "event") {
    name_ = value;
  } else if (field == "error") {
    name_ = field;
    return add_data(value);
  } else if (!data_.empty() && line.find_first_of(" \t{}[]\"") == 0) {
    return add_data(line);  // multi-line JSON; no field has such a name
  }
  return true;  // an id, a retry time, a comment, or an unknown field
}

bool EventParser::add_data(std::string_view value) {
  if (data_.size() + value.size() + 1 > limit_) return false;
  object_.add(value);
  data_ += value;
  data_ += '\n';
  return true;
}

void EventParser::end_event(const OnEvent& on_event) {
  if (!data_.empty()) {
    stopped_ = !on_event(name_, std::string_view(data_).substr(0, data_.size() - 1));
  }
  name_.clear();
  data_.clear();
  object_ = {};
}

bool EventParser::has_whole_data() const {
  if (object_.is_whole()) return true;
  if (data_.size() > 64) return false;  // avoids scanning lines repeatedly
  constexpr std::string_view kSpace = " \t\n";
  const std::size_t begin = data_.find_first_not_of(kSpace);
  return begin != data_.npos && data_.compare(begin, 6, "[DONE]") == 0 &&
         data_.find_first_not_of(kSpace, begin + 6) == data_.npos;
}

void EventParser::ObjectExtent::add(std::string_view text) {
  if (other_) return;
  for (const char c : text) {
    if (in_string_) {
      in_string_ = escaped_ || c != '"';
      escaped_ = !escaped_ && c == '\\';
    } else if (c == ' ' || c == '\t' || c == '\n') {
      continue;
    } else if (!begun_) {
      begun_ = true;
      other_ = c != '{';
      depth_ = 1;
    } else if (depth_ == 0) {
      other_ = true;  // something follows the object
    } else if (c == '"') {
      in_string_ = true;
    } else if (c == '{' || c == '[') {
      ++depth_;
    } else if (c == '}' || c == ']') {
      --depth_;
    }
    if (other_) return;
  }
}

}  // namespace r2router::llm
