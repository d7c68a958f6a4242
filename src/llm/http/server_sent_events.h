// Parses server-sent events from chunks of any size.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>

namespace r2router::llm {

/// Parses an event stream as the WHATWG HTML standard defines it: lines end with LF, CR or CR LF,
/// lines that start with a colon are comments, and an empty line ends an event. Also accepts
/// nonstandard output of gateways: JSON objects without an empty line between them, JSON continued
/// on lines without a field name, and errors in a field "error".
class EventParser {
 public:
  /// Receives an event: its name, "" without one, and its data, the lines joined with LF. Valid
  /// during the call. If it returns false, the rest of the chunk is dropped.
  using OnEvent = std::function<bool(std::string_view name, std::string_view data)>;

  /// Maximum size of an event's data, and of a line.
  explicit EventParser(std::size_t max_event_bytes) : limit_(max_event_bytes) {}

  /// Parses the next chunk of the stream. False: an event or a line exceeds the limit, and the
  /// parser must not be used again.
  bool feed(std::string_view piece, const OnEvent& on_event);

  /// Ends the stream. An incomplete event is dropped, as the standard requires, unless its data is
  /// a complete JSON object or "[DONE]".
  void finish(const OnEvent& on_event);

 private:
  /// Checks by counting braces whether lines of text form one complete JSON object.
  class ObjectExtent {
   public:
    void add(std::string_view text);
    bool is_whole() const { return begun_ && !other_ && depth_ == 0; }

   private:
    std::size_t depth_ = 0;
    bool begun_ = false, in_string_ = false, escaped_ = false;
    bool other_ = false;  // the text is not exactly one object
  };

  bool end_line(std::string_view line, const OnEvent& on_event);
  bool add_data(std::string_view value);
  void end_event(const OnEvent& on_event);
  bool has_whole_data() const;

  std::size_t limit_;
  std::string line_;  // an incomplete line
  std::string name_;  // of the event so far
  std::string data_;  // of the event so far, an LF after each line
  ObjectExtent object_;
  bool after_cr_ = false;
  bool at_start_ = true;
  bool stopped_ = false;
};

}  // namespace r2router::llm
