// Storage aligned for the kernels.
#pragma once

#include <algorithm>
#include <cstddef>
#include <new>

namespace r2router::score {

/// An array of zeros to be filled, aligned to 64 bytes.
template <typename Number>
class Aligned {
 public:
  explicit Aligned(std::size_t size)
      : data_(static_cast<Number*>(::operator new (size * sizeof(Number), std::align_val_t{64}))) {
    std::fill_n(data_, size, Number{});
  }
  Aligned(const Aligned&) = delete;
  Aligned& operator=(const Aligned&) = delete;
  ~Aligned() { ::operator delete (data_, std::align_val_t{64}); }

  Number* data() { return data_; }
  const Number* data() const { return data_; }

 private:
  Number* data_;
};

}  // namespace r2router::score
