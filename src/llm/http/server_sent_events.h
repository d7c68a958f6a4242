// Server-sent events: text in pieces of any size in, events out.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>

namespace r2router::net {

/// Parses an event stream as the WHATWG HTML standard defines it: lines end with LF, CR or CR LF,
/// those that begin with a colon are comments, an empty line ends an event. Names and ids of events
/// are passed over: no server of ours means anything by them. An event that the stream's end cuts
/// off is dropped, as the standard demands.
class EventParser {
 public:
  /// Receives the data of an event, its lines joined with LF; valid during the call. False ends the
  /// parsing of the piece: the rest of it is dropped.
  using OnEvent = std::function<bool(std::string_view data)>;

  /// An event with more data than this is refused, and so is a longer line.
  explicit EventParser(std::size_t max_event_bytes) : limit_(max_event_bytes) {}

  /// Takes the next piece of the stream. False: an event or a line is over the limit, and the
  /// parser must not be used any further.
  bool feed(std::string_view piece, const OnEvent& on_event);

 private:
  bool end_line(std::string_view line, const OnEvent& on_event);

  std::size_t limit_;
  std::string line_;  // the beginning of a line that has not ended
  std::string data_;  // of the event so far, an LF after each line
  bool after_cr_ = false;
  bool at_start_ = true;
  bool stopped_ = false;
};

}  // namespace r2router::net
