// A request that has been authenticated.
#pragma once

#include <memory>
#include <string>

#include "gateway/server/http_message.h"
#include "gateway/service.h"

namespace r2router::gateway {

struct Incoming {
  std::shared_ptr<const Service> service = {};
  const Client* client = nullptr;  ///< of the service
  HttpRequest http = {};
  std::string id = {};  ///< of the request
  std::string tag = {};
};

}  // namespace r2router::gateway
