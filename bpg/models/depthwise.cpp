// The gradient of a depthwise convolution's weights, for maps in bfloat16 laid out by pixel.
//
// Channel by channel it is a sum over all pixels, and pixels are stored with their channels side by
// side. So the innermost loop runs over channels, a block of them at a time, whose sums stay in the
// first-level cache; every value is read from memory once a block and once a row of the kernel.

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <thread>
#include <vector>

namespace py = pybind11;
template <typename T>
using Array = py::array_t<T, py::array::c_style>;

namespace {

constexpr int kBlock = 32;  // channels at a time

struct Shape {
  int images, height, width, channels, size, dilation;
};

// What a bfloat16 is worth: the upper half of a float.
inline float widened(std::uint16_t value) {
  std::uint32_t bits = static_cast<std::uint32_t>(value) << 16;
  float result;
  std::memcpy(&result, &bits, sizeof result);
  return result;
}

// sums (size, size, block): of channels first..first + count, count <= kBlock. Compiled for several
// processors; as nothing is contracted or reordered, all of them give the same bits.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
__attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#endif
void sum_block(const std::uint16_t* maps, const std::uint16_t* gradient, float* sums,
               const Shape& s, int first, int count) {
  int radius = s.size / 2;
  std::int64_t row = static_cast<std::int64_t>(s.width) * s.channels;
  float own[kBlock];
  for (int n = 0; n < s.images; ++n)
    for (int y = 0; y < s.height; ++y)
      for (int x = 0; x < s.width; ++x) {
        std::int64_t pixel = (static_cast<std::int64_t>(n) * s.height + y) * row +
                             static_cast<std::int64_t>(x) * s.channels + first;
        for (int c = 0; c < kBlock; ++c) own[c] = c < count ? widened(gradient[pixel + c]) : 0.0f;
        for (int i = 0; i < s.size; ++i) {
          int down = (i - radius) * s.dilation;
          if (y + down < 0 || y + down >= s.height) continue;
          for (int j = 0; j < s.size; ++j) {
            int right = (j - radius) * s.dilation;
            if (x + right < 0 || x + right >= s.width) continue;
            const std::uint16_t* there =
                maps + pixel + down * row + static_cast<std::int64_t>(right) * s.channels;
            float* sum = sums + (i * s.size + j) * kBlock;
            if (count == kBlock) {
              for (int c = 0; c < kBlock; ++c) sum[c] += own[c] * widened(there[c]);
            } else {
              for (int c = 0; c < count; ++c) sum[c] += own[c] * widened(there[c]);
            }
          }
        }
      }
}

// Weights' gradient (size, size, C), of maps and the result's gradient (N, H, W, C), as bits of
// bfloat16; the convolution has stride 1 and keeps the size.
Array<float> weight_gradient(const Array<std::uint16_t>& maps,
                             const Array<std::uint16_t>& gradient, int size, int dilation,
                             int threads) {
  if (maps.ndim() != 4 || gradient.ndim() != 4)
    throw std::invalid_argument("maps and gradient are (N, H, W, C)");
  for (int axis = 0; axis < 4; ++axis)
    if (maps.shape(axis) != gradient.shape(axis))
      throw std::invalid_argument("maps and gradient differ in size");
  if (size < 1 || size % 2 == 0 || dilation < 1 || threads < 1)
    throw std::invalid_argument("an odd kernel, a dilation and threads of at least 1");
  Shape s{static_cast<int>(maps.shape(0)), static_cast<int>(maps.shape(1)),
          static_cast<int>(maps.shape(2)), static_cast<int>(maps.shape(3)), size, dilation};
  Array<float> result(std::vector<py::ssize_t>{size, size, s.channels});
  const std::uint16_t* from = maps.data();
  const std::uint16_t* by = gradient.data();
  float* found = result.mutable_data();
  py::gil_scoped_release release;

  int blocks = (s.channels + kBlock - 1) / kBlock;
  auto work = [&](int begin, int step) {
    std::vector<float> sums(static_cast<std::size_t>(size) * size * kBlock);
    for (int block = begin; block < blocks; block += step) {
      int first = block * kBlock, count = std::min(kBlock, s.channels - first);
      std::fill(sums.begin(), sums.end(), 0.0f);
      sum_block(from, by, sums.data(), s, first, count);
      for (int tap = 0; tap < size * size; ++tap)
        std::copy_n(sums.data() + tap * kBlock, count,
                    found + static_cast<std::int64_t>(tap) * s.channels + first);
    }
  };
  int parts = std::min(threads, blocks);
  std::vector<std::thread> others;
  for (int part = 1; part < parts; ++part) others.emplace_back(work, part, parts);
  work(0, parts);
  for (std::thread& one : others) one.join();
  return result;
}

}  // namespace

PYBIND11_MODULE(_bpg_depthwise, module) {
  module.attr("SOURCE") = SOURCE;
  module.def("weight_gradient", &weight_gradient, py::arg("maps"), py::arg("gradient"),
             py::kw_only(), py::arg("size"), py::arg("dilation"), py::arg("threads"));
}
