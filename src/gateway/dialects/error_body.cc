#include "gateway/dialects/error_body.h"

#include <string_view>

#include "base/json_writer.h"

namespace r2router::gateway {
namespace {

std::string_view openai_type(int status) {
  switch (status) {
    case 401:
      return "authentication_error";
    case 402:
      return "insufficient_quota";
    case 403:
      return "permission_error";
    case 404:
      return "not_found_error";
    case 408:
    case 504:
      return "timeout_error";
    case 429:
      return "rate_limit_error";
    case 503:
      return "service_unavailable_error";
    default:
      return status >= 500 ? "api_error" : "invalid_request_error";
  }
}

std::string_view anthropic_type(int status) {
  switch (status) {
    case 401:
      return "authentication_error";
    case 402:
      return "billing_error";
    case 403:
      return "permission_error";
    case 404:
      return "not_found_error";
    case 408:
    case 504:
      return "timeout_error";
    case 413:
      return "request_too_large";
    case 429:
      return "rate_limit_error";
    case 503:
    case 529:
      return "overloaded_error";
    default:
      return status >= 500 ? "api_error" : "invalid_request_error";
  }
}

}  // namespace

std::string openai_error_object(const ErrorReport& error) {
  std::string json;
  ObjectWriter object(json);
  object.text("message", error.message);
  object.text("type", openai_type(error.status));
  object.text_or_null("param", error.param);
  object.text_or_null("code", error.code);
  object.close();
  return json;
}

ErrorReport report_of(const Failure& failure) {
  ErrorReport report{.message = failure.message, .code = std::string(to_string(failure.code))};
  const auto of_client = [&](int otherwise) {
    return failure.http_status >= 400 && failure.http_status < 500 ? failure.http_status
                                                                   : otherwise;
  };
  switch (failure.code) {
    case ErrorCode::kRefused:
    case ErrorCode::kTooLong:
    case ErrorCode::kUnsupported:
      report.status = of_client(400);
      break;
    case ErrorCode::kRateLimited:
      report.status = 429;
      break;
    case ErrorCode::kTimeout:
      report.status = 504;
      break;
    case ErrorCode::kServer:
      report.status = failure.http_status == 503 || failure.http_status == 529 ? 503 : 502;
      break;
    default:
      report.status = 502;
  }
  // A client cannot fix the gateway's own key or account.
  if (report.status == 401 || report.status == 402 || report.status == 403) report.status = 502;
  return report;
}

std::string openai_error(const ErrorReport& error) {
  return "{\"error\": " + openai_error_object(error) + "}";
}

std::string anthropic_error(const ErrorReport& error) {
  std::string json;
  ObjectWriter body(json);
  body.text("type", "error");
  body.object("error", [&](ObjectWriter& object) {
    object.text("type", anthropic_type(error.status));
    object.text("message", error.message);
    if (!error.code.empty()) object.text("code", error.code);
    if (!error.param.empty()) object.text("param", error.param);
  });
  body.close();
  return json;
}

}  // namespace r2router::gateway
