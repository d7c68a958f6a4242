// The access log: one JSON line for each request. It never contains keys, and contains prompts only
// if configured.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "r2router/types.h"

namespace r2router::gateway {

/// What is logged. Empty fields are left out.
struct AccessEntry {
  std::string request_id = {}, key = {}, tag = {}, peer = {};
  std::string method = {}, path = {}, dialect = {};
  std::string requested_model = {}, model = {}, budget = {};
  std::string prompt = {};
  std::string error = {};  ///< its code
  int status = 0;          ///< 499: the client disconnected
  bool stream = false;
  std::uint32_t attempts = 0, max_tokens = 0;
  std::optional<Usage> usage = {};
  std::optional<double> predicted_cost_usd = {}, predicted_quality = {}, cost_usd = {};
  double seconds = 0;
  std::optional<double> overhead_ms = {}, first_token_seconds = {};
};

/// A separate thread writes the log. If it falls behind, the oldest lines are dropped. Thread-safe.
class AccessLog {
 public:
  /// `path`: a file, or "-" for standard output; empty: nothing is logged. Throws Error(kIo).
  explicit AccessLog(const std::string& path);
  AccessLog(const AccessLog&) = delete;
  AccessLog& operator=(const AccessLog&) = delete;
  ~AccessLog();

  bool enabled() const { return sink_ != nullptr; }
  void write(const AccessEntry& entry);

 private:
  struct Sink;
  std::unique_ptr<Sink> sink_;
};

}  // namespace r2router::gateway
