// float32 storage as the kernels want it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <new>

namespace r2router::score {

/// float32 zeros aligned for the kernels.
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
