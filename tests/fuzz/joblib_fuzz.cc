// Any bytes as a joblib file: it is read or refused with an Error, and nothing else happens.
#include <cstddef>
#include <cstdint>
#include <vector>

#include "r2router/error.h"

#include "checkpoint/joblib.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace r2router;
  try {
    const io::RegressorFile file({data, size}, "input");
    for (const io::Regressor& head : file.heads()) {
      std::vector<double> coefficients(head.size());
      file.copy_coefficients(head, coefficients);
    }
  } catch (const Error&) {
  }
  return 0;
}
