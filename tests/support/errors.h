// What an Error must say.
#pragma once

#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "r2router/error.h"

namespace r2router::testing {

/// The Error that `action` throws; the test fails if it throws none.
template <typename Action>
Error error_of(Action&& action) {
  try {
    action();
  } catch (const Error& error) {
    return error;
  }
  ADD_FAILURE() << "no Error was thrown";
  return Error(ErrorCode::kUnsupported, "no Error was thrown");
}

/// `action` throws an Error of this code whose text contains `part`.
template <typename Action>
void expect_error(ErrorCode code, const std::string& part, Action&& action) {
  const Error error = error_of(action);
  EXPECT_EQ(to_string(error.code()), to_string(code)) << error.what();
  EXPECT_THAT(error.what(), ::testing::HasSubstr(part));
}

}  // namespace r2router::testing
