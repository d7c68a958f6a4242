#include "gateway/access_log.h"

#include <chrono>
#include <cstdint>
#include <ctime>

#include <spdlog/async.h>
#include <spdlog/async_logger.h>
#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_sinks.h>

#include "r2router/error.h"

#include "base/json_writer.h"

namespace r2router::gateway {
namespace {

constexpr std::size_t kQueue = 8192;

std::string utc_now() {
  const auto now = std::chrono::system_clock::now();
  const std::time_t seconds = std::chrono::system_clock::to_time_t(now);
  const auto milliseconds =
      std::chrono::duration_cast<std::chrono::milliseconds>(now.time_since_epoch()).count() % 1000;
  std::tm parts{};
  ::gmtime_r(&seconds, &parts);
  char text[40];
  const std::size_t size = std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &parts);
  std::snprintf(text + size, sizeof text - size, ".%03dZ", static_cast<int>(milliseconds));
  return text;
}

std::string line_of(const AccessEntry& entry) {
  std::string line;
  ObjectWriter json(line);
  json.text("time", utc_now());
  const auto text = [&](const char* name, const std::string& value) {
    if (!value.empty()) json.text(name, value);
  };
  const auto number = [&](const char* name, const std::optional<double>& value) {
    if (value) json.number(name, *value);
  };
  text("request_id", entry.request_id);
  text("key", entry.key);
  text("tag", entry.tag);
  text("peer", entry.peer);
  text("method", entry.method);
  text("path", entry.path);
  json.number("status", entry.status);
  text("error", entry.error);
  text("dialect", entry.dialect);
  text("requested_model", entry.requested_model);
  text("model", entry.model);
  text("budget", entry.budget);
  if (entry.max_tokens > 0) json.number("max_tokens", entry.max_tokens);
  if (entry.stream) json.boolean("stream", true);
  if (entry.attempts > 0) json.number("attempts", entry.attempts);
  if (entry.usage) {
    json.number("input_tokens", entry.usage->prompt_tokens);
    json.number("output_tokens", entry.usage->completion_tokens);
  }
  number("predicted_quality", entry.predicted_quality);
  number("predicted_cost_usd", entry.predicted_cost_usd);
  number("cost_usd", entry.cost_usd);
  json.number("seconds", entry.seconds);
  number("first_token_seconds", entry.first_token_seconds);
  number("overhead_ms", entry.overhead_ms);
  text("prompt", entry.prompt);
  json.close();
  return line;
}

}  // namespace

struct AccessLog::Sink {
  std::shared_ptr<spdlog::details::thread_pool> thread;
  std::shared_ptr<spdlog::async_logger> logger;
};

AccessLog::AccessLog(const std::string& path) {
  if (path.empty()) return;
  try {
    std::shared_ptr<spdlog::sinks::sink> sink;
    if (path == "-") {
      sink = std::make_shared<spdlog::sinks::stdout_sink_mt>();
    } else {
      sink = std::make_shared<spdlog::sinks::basic_file_sink_mt>(path);
    }
    sink->set_pattern("%v");
    auto thread = std::make_shared<spdlog::details::thread_pool>(kQueue, 1);
    auto logger = std::make_shared<spdlog::async_logger>(
        "access", std::move(sink), thread, spdlog::async_overflow_policy::overrun_oldest);
    logger->flush_on(spdlog::level::info);
    sink_ = std::make_unique<Sink>(Sink{std::move(thread), std::move(logger)});
  } catch (const spdlog::spdlog_ex& error) {
    throw Error(ErrorCode::kIo,
                std::string("the access log cannot be opened (") + error.what() + ")",
                {.file = path});
  }
}

AccessLog::~AccessLog() = default;

void AccessLog::write(const AccessEntry& entry) {
  if (sink_) sink_->logger->log(spdlog::level::info, spdlog::string_view_t(line_of(entry)));
}

}  // namespace r2router::gateway
