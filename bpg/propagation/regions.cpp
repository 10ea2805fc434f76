// Felzenszwalb and Huttenlocher's superpixels (IJCV 2004), to the labels of scikit-image's (BSD;
// the code is not theirs).
//
// An edge joins two neighbours, diagonal ones too. Edges are numbered a direction at a time:
// right, down, down and right, up and right; within it by rows.

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <stdexcept>
#include <vector>

namespace py = pybind11;
template <typename T>
using Array = py::array_t<T, py::array::c_style>;

namespace {

// The edges of one direction: from row r, column c to one pixel more, or as `step` says.
struct Direction {
  std::int64_t rows, columns;
  std::int64_t from, step;  // pixel of the first edge's beginning; from there to its end
  std::int64_t count() const { return rows * columns; }
};

std::array<Direction, 4> directions(std::int64_t height, std::int64_t width) {
  return {{{height, width - 1, 0, 1},
           {height - 1, width, 0, width},
           {height - 1, width - 1, 0, width + 1},
           {height - 1, width - 1, 1, width - 1}}};
}

std::int64_t edges_of(std::int64_t height, std::int64_t width) {
  std::int64_t count = 0;
  for (const Direction& one : directions(height, width)) count += one.count();
  return count;
}

// Distance of the colours (H, W, 3) of the two pixels of each edge.
Array<double> distances(const Array<double>& image) {
  if (image.ndim() != 3 || image.shape(2) != 3) throw std::invalid_argument("image is (H, W, 3)");
  std::int64_t height = image.shape(0), width = image.shape(1);
  Array<double> result(edges_of(height, width));
  const double* pixels = image.data();
  double* found = result.mutable_data();
  py::gil_scoped_release release;
  for (const Direction& one : directions(height, width))
    for (std::int64_t row = 0; row < one.rows; ++row) {
      const double* here = pixels + 3 * (row * width + one.from);
      const double* there = here + 3 * one.step;
      for (std::int64_t c = 0; c < one.columns; ++c, here += 3, there += 3) {
        double red = here[0] - there[0], green = here[1] - there[1], blue = here[2] - there[2];
        // From the left, as NumPy sums so few: costs that differ in the last bit change labels.
        *found++ = std::sqrt(red * red + green * green + blue * blue);
      }
    }
  return result;
}

// Regions that grow together; each is known by its first pixel.
class Forest {
 public:
  explicit Forest(std::size_t pixels) : above_(pixels), size_(pixels, 1), within_(pixels, 0.0) {
    std::iota(above_.begin(), above_.end(), 0);
  }

  std::uint32_t root(std::uint32_t pixel) {
    while (above_[pixel] != pixel) pixel = above_[pixel] = above_[above_[pixel]];
    return pixel;
  }

  // Largest distance at which the region still grows; of single precision, as in scikit-image.
  float limit(std::uint32_t root, double scale) const {
    return static_cast<float>(within_[root] + scale / static_cast<double>(size_[root]));
  }

  std::uint32_t size(std::uint32_t root) const { return size_[root]; }

  std::uint32_t join(std::uint32_t one, std::uint32_t other) {
    if (one > other) std::swap(one, other);
    above_[other] = one;
    size_[one] += size_[other];
    return one;
  }

  void set_within(std::uint32_t root, double distance) { within_[root] = distance; }

 private:
  std::vector<std::uint32_t> above_, size_;
  std::vector<double> within_;
};

// Regions (H, W), numbered by their first pixels. `order` sorts the edges by their `costs`.
Array<std::int64_t> merge(const Array<std::int64_t>& order, const Array<double>& costs,
                          std::int64_t height, std::int64_t width, double scale,
                          std::int64_t min_size) {
  std::int64_t count = edges_of(height, width);
  if (height < 1 || width < 1 || height * width > std::numeric_limits<std::uint32_t>::max())
    throw std::invalid_argument("the image has no pixels, or too many");
  if (order.size() != count || costs.size() != count)
    throw std::invalid_argument("one cost and one place an edge");
  Array<std::int64_t> result(std::vector<py::ssize_t>{height, width});
  const std::int64_t* edge = order.data();
  const double* cost = costs.data();
  std::int64_t* regions = result.mutable_data();
  py::gil_scoped_release release;

  std::vector<std::uint32_t> begins(count), ends(count);
  std::int64_t number = 0;
  for (const Direction& one : directions(height, width))
    for (std::int64_t row = 0; row < one.rows; ++row)
      for (std::int64_t c = 0; c < one.columns; ++c, ++number) {
        begins[number] = static_cast<std::uint32_t>(row * width + c + one.from);
        ends[number] = static_cast<std::uint32_t>(begins[number] + one.step);
      }

  Forest forest(static_cast<std::size_t>(height * width));
  std::vector<std::int64_t> between;  // edges that end in two regions, in their order
  for (std::int64_t i = 0; i < count; ++i) {
    std::uint32_t one = forest.root(begins[edge[i]]), other = forest.root(ends[edge[i]]);
    if (one == other) continue;
    double distance = cost[edge[i]];
    if (distance < std::min(forest.limit(one, scale), forest.limit(other, scale)))
      forest.set_within(forest.join(one, other), distance);
    else
      between.push_back(edge[i]);
  }
  for (std::int64_t i : between) {
    std::uint32_t one = forest.root(begins[i]), other = forest.root(ends[i]);
    if (one != other && (forest.size(one) < min_size || forest.size(other) < min_size))
      forest.join(one, other);
  }

  std::int64_t regions_so_far = 0;
  for (std::int64_t pixel = 0; pixel < height * width; ++pixel) {
    std::uint32_t root = forest.root(static_cast<std::uint32_t>(pixel));
    regions[pixel] = root == pixel ? regions_so_far++ : regions[root];
  }
  return result;
}

}  // namespace

PYBIND11_MODULE(_bpg_regions, module) {
  module.attr("SOURCE") = SOURCE;
  module.def("distances", &distances, py::arg("image"));
  module.def("merge", &merge, py::arg("order"), py::arg("costs"), py::arg("height"),
             py::arg("width"), py::kw_only(), py::arg("scale"), py::arg("min_size"));
}
