// The implementations behind Dialect, one for each file of this folder.
#pragma once

#include "gateway/dialects/dialect.h"

namespace r2router::gateway {

const Dialect& chat_dialect();
const Dialect& responses_dialect();
const Dialect& messages_dialect();

}  // namespace r2router::gateway
