// make_llama_encoder() for programs that are built without llama.cpp.
#include "r2router/error.h"
#include "r2router/llama_encoder.h"

namespace r2router {

std::shared_ptr<const Encoder> make_llama_encoder(const std::string& path,
                                                  const LlamaEncoderOptions&) {
  throw Error(ErrorCode::kUnsupported,
              "this program was built without llama.cpp, which " + path +
                  " needs: build it with -DR2ROUTER_WITH_LLAMA=ON, or name a server that embeds");
}

}  // namespace r2router
