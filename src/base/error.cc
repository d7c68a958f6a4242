#include "r2router/error.h"

namespace r2router {
namespace {

std::string compose(const std::string& message, const Error::Where& where) {
  std::string text = where.file;
  if (where.line) text += (text.empty() ? "line " : ":") + std::to_string(*where.line);
  if (where.byte_offset) {
    text += (text.empty() ? "byte " : " at byte ") + std::to_string(*where.byte_offset);
  }
  if (!where.pointer.empty()) text += (text.empty() ? "at " : " at ") + where.pointer;
  if (!where.option.empty()) text += (text.empty() ? "" : " at ") + where.option;
  return text.empty() ? message : text + ": " + message;
}

}  // namespace

std::string_view to_string(ErrorCode code) noexcept {
  switch (code) {
    case ErrorCode::kInvalidArgument:
      return "invalid_argument";
    case ErrorCode::kNotFound:
      return "not_found";
    case ErrorCode::kIo:
      return "io";
    case ErrorCode::kBadConfig:
      return "bad_config";
    case ErrorCode::kBadCheckpoint:
      return "bad_checkpoint";
    case ErrorCode::kUnsafe:
      return "unsafe";
    case ErrorCode::kBadData:
      return "bad_data";
    case ErrorCode::kUnsupported:
      return "unsupported";
    case ErrorCode::kConnection:
      return "connection";
    case ErrorCode::kUntrusted:
      return "untrusted";
    case ErrorCode::kTimeout:
      return "timeout";
    case ErrorCode::kCancelled:
      return "cancelled";
    case ErrorCode::kAuthentication:
      return "authentication";
    case ErrorCode::kCredit:
      return "credit";
    case ErrorCode::kRateLimited:
      return "rate_limited";
    case ErrorCode::kServer:
      return "server";
    case ErrorCode::kRefused:
      return "refused";
    case ErrorCode::kBadResponse:
      return "bad_response";
    case ErrorCode::kBudget:
      return "budget";
    case ErrorCode::kTooLong:
      return "too_long";
    case ErrorCode::kNoAnswer:
      return "no_answer";
  }
  return "unknown";
}

Error::Error(ErrorCode code, const std::string& message, Where where)
    : std::runtime_error(compose(message, where)),
      code_(code),
      message_(message),
      where_(std::move(where)) {}

Error::Error(ErrorCode code, const std::string& message) : Error(code, message, Where{}) {}

}  // namespace r2router
