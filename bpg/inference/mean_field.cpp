// Mean-field inference of the fully connected CRF (Krähenbühl and Koltun, NIPS 2011).
//
// The bilateral kernel is applied on the permutohedral lattice (Adams, Baek and Davis, Eurographics
// 2010), the Gaussian kernel of the positions alone as two 1-D convolutions. The steps are those of
// the authors' programs (densecrf: BSD, copyright 2011 Philipp Krähenbühl), the code is not. Planes are (C, N),
// rows of the lattice (vertices, channels). `setup.py` builds it without contracted or reordered
// arithmetic, so that every processor gives the same bits.

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <vector>

#if defined(__x86_64__) && defined(__gnu_linux__) && defined(__GNUC__) && !defined(__clang__)
// One copy for each instruction set; the loader picks.
#define WIDE __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define WIDE
#endif

namespace py = pybind11;
using Plane = std::vector<float>;  // of pixels, or of whatever the name says

namespace {

constexpr int D = 5;           // features of a pixel: x, y, red, green, blue
constexpr int CORNERS = D + 1;  // of a simplex of the lattice
constexpr float TINY = 1e-20f;

struct TooFine : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Numbers keys from 1 on in the order of their arrival: open addressing, grown at half load.
class Numbers {
 public:
  explicit Numbers(std::size_t expected) {
    std::size_t size = 1024;
    while (size < 2 * expected) size *= 2;
    slots_.assign(size, 0);
  }

  std::uint32_t of(std::uint64_t key) {
    std::size_t slot = find(key);
    if (slots_[slot] == 0) {
      keys_.push_back(key);
      slots_[slot] = static_cast<std::uint32_t>(keys_.size());
      if (2 * keys_.size() > slots_.size()) grow();
      return static_cast<std::uint32_t>(keys_.size());
    }
    return slots_[slot];
  }

  const std::vector<std::uint64_t>& keys() const { return keys_; }

 private:
  std::size_t find(std::uint64_t key) const {
    // Fibonacci hashing: neighbouring keys go to places far apart.
    std::size_t mask = slots_.size() - 1;
    std::size_t slot = ((key * 0x9E3779B97F4A7C15ull) >> 20) & mask;
    while (slots_[slot] != 0 && keys_[slots_[slot] - 1] != key) slot = (slot + 1) & mask;
    return slot;
  }

  void grow() {
    slots_.assign(2 * slots_.size(), 0);
    for (std::size_t i = 0; i < keys_.size(); ++i)
      slots_[find(keys_[i])] = static_cast<std::uint32_t>(i + 1);
  }

  std::vector<std::uint32_t> slots_;
  std::vector<std::uint64_t> keys_;
};

// Places of `keys` in ascending order (a radix sort of the lowest `bits`).
std::vector<std::uint32_t> sorted_places(const std::vector<std::uint64_t>& keys, int bits) {
  constexpr int DIGIT = 11;
  std::vector<std::pair<std::uint64_t, std::uint32_t>> now(keys.size()), next(keys.size());
  for (std::size_t i = 0; i < keys.size(); ++i) now[i] = {keys[i], static_cast<std::uint32_t>(i)};
  for (int shift = 0; shift < bits; shift += DIGIT) {
    std::array<std::uint32_t, (1 << DIGIT) + 1> starts{};
    for (const auto& item : now) ++starts[((item.first >> shift) & ((1 << DIGIT) - 1)) + 1];
    for (int digit = 0; digit < 1 << DIGIT; ++digit) starts[digit + 1] += starts[digit];
    for (const auto& item : now) next[starts[(item.first >> shift) & ((1 << DIGIT) - 1)]++] = item;
    now.swap(next);
  }
  std::vector<std::uint32_t> places(keys.size());
  for (std::size_t i = 0; i < keys.size(); ++i) places[i] = now[i].second;
  return places;
}

class Lattice {
 public:
  // rgb (pixels, 3), row by row.
  Lattice(const std::uint8_t* rgb, int height, int width, float xy, float colour)
      : pixels_(static_cast<std::size_t>(height) * width),
        corners_(pixels_ * CORNERS),
        weights_(pixels_ * CORNERS) {
    place(rgb, height, width, xy, colour);
    const Plane ones(pixels_, 1.0f);
    const float* planes[1] = {ones.data()};
    norm_.resize(pixels_);
    float* out[1] = {norm_.data()};
    run<1>(planes, out, nullptr);
    for (float& value : norm_) value = 1.0f / std::sqrt(value + TINY);
    // What the normalised kernel makes of ones.
    total_.resize(pixels_);
    out[0] = total_.data();
    run<1>(planes, out, norm_.data());
  }

  // out = the normalised kernel times each plane.
  void apply(const std::vector<const float*>& planes, const std::vector<float*>& out) {
    for (std::size_t done = 0; done < planes.size();) {
      const float* const* from = planes.data() + done;
      float* const* to = out.data() + done;
      switch (planes.size() - done) {
        case 1: run<1>(from, to, norm_.data()); return;
        case 2: run<2>(from, to, norm_.data()); return;
        case 3: run<3>(from, to, norm_.data()); return;
        case 4: run<4>(from, to, norm_.data()); return;
        case 5: run<5>(from, to, norm_.data()); return;
        case 6: run<6>(from, to, norm_.data()); return;
        case 7: run<7>(from, to, norm_.data()); return;
        default: run<8>(from, to, norm_.data()); done += 8;
      }
    }
  }

  const Plane& total() const { return total_; }

 private:
  void place(const std::uint8_t* rgb, int height, int width, float xy, float colour);

  // Splat, blur, slice W planes; multiplied by `norm` before and after where there is one.
  template <int W>
  void run(const float* const* planes, float* const* out, const float* norm) {
    std::size_t size = (vertices_ + 1) * W;  // row 0 is the missing neighbour, always zero
    values_.assign(size, 0.0f);
    blurred_.resize(size);
    float* now = values_.data();
    float* next = blurred_.data();
    for (std::size_t i = 0; i < pixels_; ++i) {
      float pixel[W];
      for (int c = 0; c < W; ++c) pixel[c] = norm ? norm[i] * planes[c][i] : planes[c][i];
      for (int r = 0; r < CORNERS; ++r) {
        float weight = weights_[i * CORNERS + r];
        float* row = now + static_cast<std::size_t>(corners_[i * CORNERS + r]) * W;
        for (int c = 0; c < W; ++c) row[c] += weight * pixel[c];
      }
    }
    for (int axis = 0; axis < CORNERS; ++axis) {
      const std::uint32_t* pairs = neighbours_.data() + 2 * axis * vertices_;
      for (int c = 0; c < W; ++c) next[c] = 0.0f;
      for (std::size_t v = 0; v < vertices_; ++v) {
        const float* own = now + (v + 1) * W;
        const float* before = now + static_cast<std::size_t>(pairs[2 * v]) * W;
        const float* after = now + static_cast<std::size_t>(pairs[2 * v + 1]) * W;
        float* to = next + (v + 1) * W;
        for (int c = 0; c < W; ++c) to[c] = own[c] + 0.5f * (before[c] + after[c]);
      }
      std::swap(now, next);
    }
    constexpr float alpha = 1.0f / (1.0f + 1.0f / (1 << D));
    for (std::size_t i = 0; i < pixels_; ++i) {
      float pixel[W] = {};
      for (int r = 0; r < CORNERS; ++r) {
        float weight = weights_[i * CORNERS + r];
        const float* row = now + static_cast<std::size_t>(corners_[i * CORNERS + r]) * W;
        for (int c = 0; c < W; ++c) pixel[c] += weight * row[c];
      }
      float scale = norm ? alpha * norm[i] : alpha;
      for (int c = 0; c < W; ++c) out[c][i] = scale * pixel[c];
    }
  }

  std::size_t pixels_, vertices_ = 0;
  std::vector<std::uint32_t> corners_;     // (pixels, 6): vertices from 1 on
  Plane weights_;                          // (pixels, 6): barycentric, sum 1
  std::vector<std::uint32_t> neighbours_;  // (6, vertices, 2): before and after along each axis
  Plane norm_, total_, values_, blurred_;
};

void Lattice::place(const std::uint8_t* rgb, int height, int width, float xy, float colour) {
  // Section 3.1 of Adams et al.: a step of the blur has the deviation that `scale` undoes.
  std::array<float, D> scale;
  for (int i = 0; i < D; ++i) {
    float deviation = i < 2 ? xy : colour;
    scale[i] = static_cast<float>(std::sqrt(2.0 / 3.0) * CORNERS / std::sqrt((i + 1.0) * (i + 2.0))) /
               deviation;
  }
  // Far below what 32 bits hold; the packed coordinates below have less room still.
  if (!((width + height) / xy + 3 * 255 / colour < 1e6f))
    throw TooFine("the deviations are too small for the lattice");
  std::vector<std::array<std::int32_t, CORNERS>> bases(pixels_);
  std::vector<std::array<std::uint8_t, CORNERS>> ranks(pixels_);
  std::array<std::int32_t, D> lowest, highest;
  lowest.fill(std::numeric_limits<std::int32_t>::max());
  highest.fill(std::numeric_limits<std::int32_t>::min());
  for (std::size_t i = 0; i < pixels_; ++i) {
    const float feature[D] = {static_cast<float>(i % width), static_cast<float>(i / width),
                              static_cast<float>(rgb[3 * i]), static_cast<float>(rgb[3 * i + 1]),
                              static_cast<float>(rgb[3 * i + 2])};
    // Onto the hyperplane of sum zero.
    float elevated[CORNERS], sum = 0;
    for (int j = D; j > 0; --j) {
      float value = feature[j - 1] * scale[j - 1];
      elevated[j] = sum - j * value;
      sum += value;
    }
    elevated[0] = sum;
    // The nearest point whose coordinates are multiples of 6, and the order of the differences.
    int total = 0;
    auto& base = bases[i];
    for (int j = 0; j < CORNERS; ++j) {
      int whole = static_cast<int>(std::lrint(elevated[j] * (1.0f / CORNERS)));
      base[j] = whole * CORNERS;
      total += whole;
    }
    int rank[CORNERS] = {};
    for (int j = 0; j < D; ++j) {
      float own = elevated[j] - base[j];
      for (int k = j + 1; k < CORNERS; ++k) {
        if (own < elevated[k] - base[k]) ++rank[j];
        else ++rank[k];
      }
    }
    for (int j = 0; j < CORNERS; ++j) {
      rank[j] += total;
      if (rank[j] < 0) { rank[j] += CORNERS; base[j] += CORNERS; }
      else if (rank[j] > D) { rank[j] -= CORNERS; base[j] -= CORNERS; }
      ranks[i][j] = static_cast<std::uint8_t>(rank[j]);
    }
    float barycentric[CORNERS + 1] = {};
    for (int j = 0; j < CORNERS; ++j) {
      float part = (elevated[j] - base[j]) * (1.0f / CORNERS);
      barycentric[D - rank[j]] += part;
      barycentric[CORNERS - rank[j]] -= part;
    }
    barycentric[0] += 1.0f + barycentric[CORNERS];
    for (int r = 0; r < CORNERS; ++r) weights_[i * CORNERS + r] = barycentric[r];
    for (int j = 0; j < D; ++j) {
      lowest[j] = std::min(lowest[j], base[j]);
      highest[j] = std::max(highest[j], base[j]);
    }
  }

  // Five coordinates in 64 bits, with room for a simplex and a step on either side.
  std::array<int, D> shift;
  int bits = 0;
  for (int j = 0; j < D; ++j) {
    shift[j] = bits;
    std::int64_t range = std::int64_t(highest[j]) - lowest[j] + 4 * CORNERS;
    while ((std::int64_t(1) << (bits - shift[j])) < range) ++bits;
  }
  if (bits > 63) throw TooFine("the deviations are too small for the lattice");
  auto pack = [&](const std::array<std::int64_t, D>& point) {
    std::uint64_t key = 0;
    for (int j = 0; j < D; ++j) key += static_cast<std::uint64_t>(point[j]) << shift[j];
    return key;
  };

  Numbers known(pixels_ / 2);
  std::uint64_t before_base = 0;
  for (std::size_t i = 0; i < pixels_; ++i) {
    std::array<std::int64_t, D> point;
    for (int j = 0; j < D; ++j) point[j] = bases[i][j] - lowest[j] + 2 * CORNERS;
    std::uint64_t key = pack(point);
    // Neighbouring pixels often share the simplex.
    if (i > 0 && key == before_base && ranks[i] == ranks[i - 1]) {
      std::copy_n(&corners_[(i - 1) * CORNERS], CORNERS, &corners_[i * CORNERS]);
      continue;
    }
    before_base = key;
    for (int r = 0; r < CORNERS; ++r) {
      std::uint64_t corner = key;
      for (int j = 0; j < D; ++j) {
        std::int64_t step = ranks[i][j] > D - r ? r - CORNERS : r;
        corner += static_cast<std::uint64_t>(step) << shift[j];
      }
      corners_[i * CORNERS + r] = known.of(corner);
    }
  }

  // In the order of their keys, the neighbours of vertices along an axis are in order, too: found
  // by one pass, and read without jumps by the blur.
  vertices_ = known.keys().size();
  std::vector<std::uint32_t> places = sorted_places(known.keys(), bits);
  std::vector<std::uint32_t> renumbered(vertices_ + 1, 0);
  std::vector<std::uint64_t> keys(vertices_);
  for (std::size_t v = 0; v < vertices_; ++v) {
    renumbered[places[v] + 1] = static_cast<std::uint32_t>(v + 1);
    keys[v] = known.keys()[places[v]];
  }
  for (std::uint32_t& corner : corners_) corner = renumbered[corner];
  neighbours_.assign(2 * CORNERS * vertices_, 0);
  for (int axis = 0; axis < CORNERS; ++axis) {
    std::uint32_t* pairs = neighbours_.data() + 2 * axis * vertices_;
    std::array<std::int64_t, D> step;
    for (int j = 0; j < D; ++j) step[j] = j == axis ? D : -1;
    std::uint64_t difference = pack(step);
    // Of a negative difference, the other neighbour is the one ahead.
    bool forwards = difference < (std::uint64_t(1) << 63);
    if (!forwards) difference = 0 - difference;
    for (std::size_t v = 0, ahead = 0; v < vertices_; ++v) {
      std::uint64_t wanted = keys[v] + difference;
      while (ahead < vertices_ && keys[ahead] < wanted) ++ahead;
      if (ahead == vertices_) break;
      if (keys[ahead] == wanted) {
        pairs[2 * v + forwards] = static_cast<std::uint32_t>(ahead + 1);
        pairs[2 * ahead + !forwards] = static_cast<std::uint32_t>(v + 1);
      }
    }
  }
}

// Convolution with exp(-r²/2σ²), cut off at 4σ, symmetrically normalised.
class Gaussian {
 public:
  Gaussian(int height, int width, float deviation) : height_(height), width_(width) {
    // Never wider than the image, whatever the deviation.
    float widest = static_cast<float>(std::max(height, width));
    int radius = std::max(1, static_cast<int>(std::ceil(std::min(4 * deviation, widest))));
    for (int r = 0; r <= radius; ++r)
      taps_.push_back(static_cast<float>(std::exp(-0.5 * r * r / (double(deviation) * deviation))));
    std::size_t pixels = static_cast<std::size_t>(height) * width;
    norm_.assign(pixels, 1.0f);
    Plane ones(pixels, 1.0f), sums(pixels);
    apply(ones.data(), sums.data());
    for (std::size_t i = 0; i < pixels; ++i) norm_[i] = 1.0f / std::sqrt(sums[i] + TINY);
  }

  void apply(const float* plane, float* out) {
    std::size_t pixels = static_cast<std::size_t>(height_) * width_;
    scaled_.resize(pixels);
    rows_.resize(pixels);
    convolve(plane, norm_.data(), scaled_.data(), rows_.data(), out, taps_.data(),
             static_cast<int>(taps_.size()) - 1, height_, width_);
  }

 private:
  WIDE static void convolve(const float* __restrict plane, const float* __restrict norm,
                            float* __restrict scaled, float* __restrict rows, float* __restrict out,
                            const float* taps, int radius, int height, int width);

  int height_, width_;
  Plane taps_, norm_, scaled_, rows_;
};

WIDE void Gaussian::convolve(const float* __restrict plane, const float* __restrict norm,
                             float* __restrict scaled, float* __restrict rows,
                             float* __restrict out, const float* taps, int radius, int height,
                             int width) {
  std::size_t pixels = static_cast<std::size_t>(height) * width;
  for (std::size_t i = 0; i < pixels; ++i) scaled[i] = norm[i] * plane[i];
  for (int y = 0; y < height; ++y) {
    const float* from = scaled + static_cast<std::size_t>(y) * width;
    float* to = rows + static_cast<std::size_t>(y) * width;
    for (int x = 0; x < width; ++x) to[x] = taps[0] * from[x];
    for (int r = 1; r <= std::min(radius, width - 1); ++r) {
      float tap = taps[r];
      for (int x = 0; x < width - r; ++x) to[x] += tap * from[x + r];
      for (int x = r; x < width; ++x) to[x] += tap * from[x - r];
    }
  }
  for (int y = 0; y < height; ++y) {
    float* to = out + static_cast<std::size_t>(y) * width;
    const float* own = rows + static_cast<std::size_t>(y) * width;
    for (int x = 0; x < width; ++x) to[x] = taps[0] * own[x];
    for (int r = 1; r <= radius; ++r) {
      float tap = taps[r];
      if (y >= r) {
        const float* from = own - static_cast<std::size_t>(r) * width;
        for (int x = 0; x < width; ++x) to[x] += tap * from[x];
      }
      if (y + r < height) {
        const float* from = own + static_cast<std::size_t>(r) * width;
        for (int x = 0; x < width; ++x) to[x] += tap * from[x];
      }
    }
    const float* scale = norm + static_cast<std::size_t>(y) * width;
    for (int x = 0; x < width; ++x) to[x] *= scale[x];
  }
}

// exp(x) of x <= 0 to two units in the last place; libm's is not vectorised.
inline float exponential(float x) {
  x = std::max(x, -80.0f) * 1.44269504f;
  float whole = static_cast<float>(static_cast<int>(x - 0.5f));  // rounds: x is not positive
  float f = (x - whole) * 0.693147181f;
  float p = 1.0f + f * (1.0f + f * (0.5f + f * (1.6666667e-1f + f * (4.1666668e-2f +
            f * (8.3333340e-3f + f * 1.3888889e-3f)))));
  std::int32_t bits = (static_cast<std::int32_t>(whole) + 127) << 23;
  float power;
  std::memcpy(&power, &bits, sizeof power);
  return p * power;
}

WIDE void maximum(float* __restrict peak, const float* __restrict plane, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) peak[i] = std::max(peak[i], plane[i]);
}

WIDE void exponentiate(float* __restrict plane, const float* __restrict peak,
                       float* __restrict sum, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) {
    float value = exponential(plane[i] - peak[i]);
    plane[i] = value;
    sum[i] += value;
  }
}

WIDE float divide(float* __restrict plane, const float* __restrict sum, std::size_t n) {
  float highest = 0;
  for (std::size_t i = 0; i < n; ++i) {
    plane[i] /= sum[i];
    highest = std::max(highest, plane[i]);
  }
  return highest;
}

WIDE void add_messages(float* __restrict out, const float* __restrict unary,
                       const float* __restrict near, float near_weight,
                       const float* __restrict alike, float alike_weight, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i)
    out[i] = near_weight * near[i] + alike_weight * alike[i] - unary[i];
}

WIDE void subtract(float* __restrict from, const float* __restrict plane, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) from[i] -= plane[i];
}

// In place: logits (planes of n) to probabilities. Returns the highest of each plane; `sum` is left
// with 1 / the highest of each pixel.
std::vector<float> softmax(const std::vector<float*>& planes, std::size_t n, Plane& peak, Plane& sum) {
  std::copy_n(planes[0], n, peak.begin());
  for (std::size_t c = 1; c < planes.size(); ++c) maximum(peak.data(), planes[c], n);
  std::fill_n(sum.begin(), n, 0.0f);
  for (float* plane : planes) exponentiate(plane, peak.data(), sum.data(), n);
  std::vector<float> highest;
  for (float* plane : planes) highest.push_back(divide(plane, sum.data(), n));
  return highest;
}

using Bytes = py::array_t<std::uint8_t, py::array::c_style | py::array::forcecast>;
using Floats = py::array_t<float, py::array::c_style | py::array::forcecast>;

py::tuple mean_field(Bytes image, Floats unary, int iterations, float gaussian_weight,
                     float gaussian_xy, float bilateral_weight, float bilateral_xy,
                     float bilateral_rgb, float floor) {
  if (image.ndim() != 3 || image.shape(2) != 3 || unary.ndim() != 3 ||
      unary.shape(1) != image.shape(0) || unary.shape(2) != image.shape(1) || unary.shape(0) < 1 ||
      image.size() == 0)
    throw std::invalid_argument("need an image (H, W, 3) and energies (C, H, W)");
  int height = static_cast<int>(image.shape(0)), width = static_cast<int>(image.shape(1));
  std::size_t n = static_cast<std::size_t>(height) * width;
  std::vector<int> classes;
  for (int c = 0; c < unary.shape(0); ++c) classes.push_back(c);
  const std::uint8_t* rgb = image.data();
  const float* energies = unary.data();
  std::vector<Plane> q(classes.size());
  {
    py::gil_scoped_release release;
    Lattice lattice(rgb, height, width, bilateral_xy, bilateral_rgb);
    Gaussian gaussian(height, width, gaussian_xy);
    Plane peak(n), sum(n), near(n);
    std::vector<Plane> alike(classes.size());
    for (std::size_t c = 0; c < classes.size(); ++c) {
      q[c].resize(n);
      for (std::size_t i = 0; i < n; ++i) q[c][i] = -energies[c * n + i];
    }
    for (int iteration = 0;; ++iteration) {
      std::vector<float*> planes;
      for (Plane& plane : q) planes.push_back(plane.data());
      std::vector<float> highest = softmax(planes, n, peak, sum);
      if (iteration == iterations) break;
      // A class that is unlikely everywhere and wins nowhere is left out from here on.
      float least_winner = 1.0f / *std::max_element(sum.begin(), sum.end());
      float least = std::min(floor, least_winner);
      std::size_t kept = 0;
      for (std::size_t c = 0; c < q.size(); ++c)
        if (highest[c] >= least) {
          if (kept != c) {
            q[kept].swap(q[c]);
            classes[kept] = classes[c];
          }
          ++kept;
        }
      bool whole = kept == q.size();
      q.resize(kept);
      classes.resize(kept);
      if (kept == 1) break;
      std::vector<const float*> from;
      std::vector<float*> to;
      for (std::size_t c = 0; c + whole < kept; ++c) {
        alike[c].resize(n);
        from.push_back(q[c].data());
        to.push_back(alike[c].data());
      }
      lattice.apply(from, to);
      if (whole) {
        // The probabilities sum to one: the last class's message follows from the others'.
        alike[kept - 1] = lattice.total();
        for (float* plane : to) subtract(alike[kept - 1].data(), plane, n);
      }
      for (std::size_t c = 0; c < kept; ++c) {
        gaussian.apply(q[c].data(), near.data());
        add_messages(q[c].data(), energies + static_cast<std::size_t>(classes[c]) * n, near.data(),
                     gaussian_weight, alike[c].data(), bilateral_weight, n);
      }
    }
  }
  py::array_t<float> result(std::vector<py::ssize_t>{static_cast<py::ssize_t>(q.size()), height, width});
  for (std::size_t c = 0; c < q.size(); ++c) std::copy_n(q[c].data(), n, result.mutable_data() + c * n);
  return py::make_tuple(classes, result);
}

}  // namespace

PYBIND11_MODULE(_bpg_mean_field, module) {
  module.attr("SOURCE") = SOURCE;
  py::register_exception<TooFine>(module, "TooFine");
  module.def("mean_field", &mean_field, py::arg("image"), py::arg("unary"), py::kw_only(),
             py::arg("iterations"), py::arg("gaussian_weight"), py::arg("gaussian_xy"),
             py::arg("bilateral_weight"), py::arg("bilateral_xy"), py::arg("bilateral_rgb"),
             py::arg("floor"));
}
