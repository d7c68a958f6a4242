// When another model is tried.
#pragma once

#include "r2router/error.h"

namespace r2router::llm {

/// The rule in generate()'s documentation: whether a failure may not affect another model. kBudget
/// depends on what the cap was spent on.
constexpr bool another_model_may_answer(ErrorCode code) {
  switch (code) {
    case ErrorCode::kNotFound:
    case ErrorCode::kRateLimited:
    case ErrorCode::kServer:
    case ErrorCode::kConnection:
    case ErrorCode::kTimeout:
    case ErrorCode::kBadResponse:
    case ErrorCode::kTooLong:
    case ErrorCode::kNoAnswer:
    case ErrorCode::kUnsupported:
      return true;
    default:
      return false;
  }
}

}  // namespace r2router::llm
