// float32 storage aligned for the kernels.
#pragma once

#include <algorithm>
#include <cstddef>
#include <new>

namespace r2router::score {

/// An array of zeros to be filled, aligned to 64 bytes.
class AlignedFloats {
 public:
  explicit AlignedFloats(std::size_t size)
      : data_(static_cast<float*>(::operator new (size * sizeof(float), std::align_val_t{64}))) {
    std::fill_n(data_, size, 0.0F);
  }
  AlignedFloats(const AlignedFloats&) = delete;
  AlignedFloats& operator=(const AlignedFloats&) = delete;
  ~AlignedFloats() { ::operator delete (data_, std::align_val_t{64}); }

  float* data() { return data_; }
  const float* data() const { return data_; }

 private:
  float* data_;
};

}  // namespace r2router::score
