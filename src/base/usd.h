// Amounts of US dollars in messages for people.
#pragma once

#include <string>

namespace r2router {

/// "$0.0000125": all the digits that the amount needs to read back as the same double, so that it
/// can be given as a limit, and no exponent.
std::string usd_text(double amount);

}  // namespace r2router
