// Server-sent events: text in pieces of any size in, events out.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>

namespace r2router::llm {

/// Parses an event stream as the WHATWG HTML standard defines it: lines end with LF, CR or CR LF,
/// those that begin with a colon are comments, an empty line ends an event. Besides, it takes what
/// gateways send against the standard: JSON objects without an empty line between them, JSON that
/// goes on in lines without a field name, and errors in a field "error".
class EventParser {
 public:
  /// Receives an event: its name, "" without one, and its data, the lines joined with LF. Valid
  /// during the call. False ends the parsing of the piece: the rest of it is dropped.
  using OnEvent = std::function<bool(std::string_view name, std::string_view data)>;

  /// An event with more data than this is refused, and so is a longer line.
  explicit EventParser(std::size_t max_event_bytes) : limit_(max_event_bytes) {}

  /// Takes the next piece of the stream. False: an event or a line is over the limit, and the
  /// parser must not be used any further.
  bool feed(std::string_view piece, const OnEvent& on_event);

  /// Takes the end of the stream. An event that it cuts off is dropped, as the standard demands,
  /// unless its data is a whole JSON object or "[DONE]".
  void finish(const OnEvent& on_event);

 private:
  /// Finds out by its braces whether a text that comes in lines is one whole JSON object.
  class ObjectExtent {
   public:
    void add(std::string_view text);
    bool is_whole() const { return begun_ && !other_ && depth_ == 0; }

   private:
    std::size_t depth_ = 0;
    bool begun_ = false, in_string_ = false, escaped_ = false;
    bool other_ = false;  // the text is something else, or more
  };

  bool end_line(std::string_view line, const OnEvent& on_event);
  bool add_data(std::string_view value);
  void end_event(const OnEvent& on_event);
  bool has_whole_data() const;

  std::size_t limit_;
  std::string line_;  // the beginning of a line that has not ended
  std::string name_;  // of the event so far
  std::string data_;  // of the event so far, an LF after each line
  ObjectExtent object_;
  bool after_cr_ = false;
  bool at_start_ = true;
  bool stopped_ = false;
};

}  // namespace r2router::llm
