#include "cli/command.h"

#include <algorithm>
#include <cstdio>

#include "base/excerpt.h"
#include "base/suggestion.h"

namespace r2router::cli {
namespace {

constexpr double kUnbounded = std::numeric_limits<double>::max();

/// "a number from 0 to 1", or "a number, 0 or more" if `most` is kUnbounded.
std::string range_text(const std::string& kind, double least, double most) {
  const auto text = [](double number) {
    char digits[64];
    std::snprintf(digits, sizeof digits, "%.15g", number);
    return std::string(digits);
  };
  return most < kUnbounded ? kind + " from " + text(least) + " to " + text(most)
                           : kind + ", " + text(least) + " or more";
}

}  // namespace

Check check_that(const std::string& expected, std::function<bool(const std::string&)> accepts) {
  return [expected, accepts = std::move(accepts)](const std::string& text) {
    return accepts(text) ? std::string() : "expected " + expected + ", found " + excerpt(text);
  };
}

Check one_of(std::vector<std::string> values) {
  return [values = std::move(values)](const std::string& text) -> std::string {
    if (std::ranges::find(values, text) != values.end()) return {};
    const auto meant = internal::likely_name(text, values);
    return "expected " + internal::alternatives(values) + ", found " + excerpt(text) +
           (meant ? "; did you mean " + *meant + "?" : "");
  };
}

Check number_in(double least, double most) {
  using Limits = std::numeric_limits<double>;
  return check_that(least == Limits::lowest() ? "a number" : range_text("a number", least, most),
                    [=](const std::string& text) {
                      double value = 0;
                      return CLI::detail::lexical_cast(text, value) && value >= least &&
                             value <= most;
                    });
}

Check whole_number_in(std::uint64_t least, std::uint64_t most) {
  // The largest number of a type is not worth mentioning.
  const bool bounded = most < std::numeric_limits<std::uint32_t>::max();
  const double shown = bounded ? static_cast<double>(most) : kUnbounded;
  return check_that(range_text("a whole number", static_cast<double>(least), shown),
                    [=](const std::string& text) {
                      std::uint64_t value = 0;
                      return !text.starts_with('-') && CLI::detail::lexical_cast(text, value) &&
                             value >= least && value <= most;
                    });
}

CLI::Option* Options::finish(CLI::Option* option, const std::string& type, Check check) {
  if (check) option->check(std::move(check));
  if (option->get_expected_max() > 1 && !option->get_positional()) {
    option->delimiter(',')->allow_extra_args(false);
  }
  added_.push_back(option->type_name(type)->group(group_));
  return option;
}

}  // namespace r2router::cli
