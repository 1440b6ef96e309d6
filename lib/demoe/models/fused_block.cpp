// A NAFBlock on a CPU in two passes over cache-sized pieces of its map, and their backward passes.
//
// Maps are (B, H, W, C), contiguous, in float32 or float64. The block is folded (inference/fold.py): what is left of a
// norm is (x - mean) / deviation. One source for all instruction sets: at::vec::Vectorized is 4 to 16 numbers wide.
// The work is shared among threads in fixed pieces, so the same number of threads gives the same bytes.

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/cpu/vec/functional.h>
#include <ATen/cpu/vec/vec.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros.h>
#include <torch/library.h>

#include <algorithm>
#include <cmath>
#include <tuple>
#include <vector>

namespace {

using at::Tensor;
using Size = int64_t;
template <class T> using Vec = at::vec::Vectorized<T>;
template <class T> constexpr Size V = Vec<T>::size();

#if defined(CPU_CAPABILITY_AVX2)
constexpr Size ROWS = 6;  // of a register tile: 6 x 2 sums, 2 weights and a factor fill 16 registers
#else
constexpr Size ROWS = 8;  // of 32 registers
#endif
constexpr Size SLACK = 64;        // numbers behind each buffer, which whole vectors may read beyond a row's end
constexpr Size PIECE = 1 << 14;   // numbers of a piece of a map with C channels: 64 KiB, of a cache of 512
constexpr Size FEWEST = 48;       // pixels at once, so that weights that are read from afar are used often

template <class T> inline Vec<T> load(const T* p, Size n) {
  return n >= V<T> ? Vec<T>::loadu(p) : Vec<T>::loadu(p, n);
}
template <class T> inline void store(const Vec<T>& v, T* p, Size n) {
  if (n >= V<T>) v.store(p); else v.store(p, n);
}
template <class T> inline T sum(const Vec<T>& v) {
  return at::vec::vec_reduce_all<T>([](const Vec<T>& a, const Vec<T>& b) { return a + b; }, v);
}
template <class T> std::vector<T> buffer(Size n) { return std::vector<T>(n + SLACK); }  // zeros

// Products. Rows of A, broadcast, times panels of 2 V columns of B.

// M rows of A times one panel: to (M, 2 V). Not inlined: registers are for the sums, and it is compiled once a height.
template <class T, Size M>
C10_NOINLINE void tile(Size k, const T* a, Size row, Size step, const T* b, Size below, T* to) {
  Vec<T> left[M], right[M];
#pragma GCC unroll 8
  for (Size i = 0; i < M; i++) left[i] = right[i] = Vec<T>(T(0));
  for (Size q = 0; q < k; q++, a += step, b += below) {
    const Vec<T> b0 = Vec<T>::loadu(b), b1 = Vec<T>::loadu(b + V<T>);
#pragma GCC unroll 8
    for (Size i = 0; i < M; i++) {
      const Vec<T> factor(a[i * row]);
      left[i] = at::vec::fmadd(factor, b0, left[i]);
      right[i] = at::vec::fmadd(factor, b1, right[i]);
    }
  }
#pragma GCC unroll 8
  for (Size i = 0; i < M; i++) {
    left[i].store(to + 2 * i * V<T>);
    right[i].store(to + (2 * i + 1) * V<T>);
  }
}

template <class T> using Tile = void (*)(Size, const T*, Size, Size, const T*, Size, T*);
template <class T> constexpr Tile<T> TILES[] = {nullptr,     tile<T, 1>, tile<T, 2>, tile<T, 3>, tile<T, 4>, tile<T, 5>,
#if defined(CPU_CAPABILITY_AVX2)
                                                tile<T, 6>};
#else
                                                tile<T, 6>,  tile<T, 7>, tile<T, 8>};
#endif

// m rows in tiles of nearly equal height; done(row, left, right).
template <class T, class Done>
inline void tiles(Size m, Size k, const T* a, Size row, Size step, const T* b, Size below, const Done& done) {
  alignas(64) T sums[ROWS * 2 * V<T>];
  const Size count = (m + ROWS - 1) / ROWS, least = m / count, higher = m % count;
  for (Size first = 0, q = 0; q < count; q++) {
    const Size height = least + (q < higher);
    TILES<T>[height](k, a + first * row, row, step, b, below, sums);
    for (Size i = 0; i < height; i++)
      done(first + i, Vec<T>::loadu(sums + 2 * i * V<T>), Vec<T>::loadu(sums + (2 * i + 1) * V<T>));
    first += height;
  }
}

// Panels of the (k, n) matrix whose element is w[n * across + k * along]: [panel][k][2 V], zeros beyond n. Gated: a
// panel has V columns of the first half of n and V of the second, so that both factors of a gate are at hand together.
template <class T> struct Packed {
  Size n, k, wide;
  bool gated;
  std::vector<T> own;
  const T* values;
  Packed(const T* w, Size n, Size k, Size across, Size along, bool gated = false) : n(n), k(k), gated(gated) {
    wide = gated ? V<T> : 2 * V<T>;
    const Size limit = gated ? n / 2 : n, panels = (limit + wide - 1) / wide;
    own.resize(panels * k * 2 * V<T>);
    values = own.data();
    T* to = own.data();
    for (Size p = 0; p < panels; p++) {
      const Size width = std::min(wide, limit - p * wide);
      const T* from = w + p * wide * across;
      for (Size q = 0; q < k; q++, to += 2 * V<T>, from += along) {
        for (Size c = 0; c < width; c++) to[c] = from[c * across];
        if (gated) for (Size c = 0; c < width; c++) to[V<T> + c] = from[(n / 2 + c) * across];
      }
    }
  }
  // Of a weight (n, k), or of what pack_op made of one.
  Packed(const Tensor& w, Size n, Size k, bool gated = false)
      : Packed(w.const_data_ptr<T>(), w.dim() == 1 ? 0 : n, k, k, 1, gated) {
    this->n = n;
    if (w.dim() == 1) values = w.const_data_ptr<T>();
  }
};

// `rows` pieces of m pixels, a(r) each (m, k), times packed weights; done(r, i, column, left, right).
template <class T, class Rows, class Done>
inline void product(Size rows, Size m, const Rows& a, const Packed<T>& w, const Done& done) {
  const Size limit = w.gated ? w.n / 2 : w.n;
  const T* panel = w.values;
  for (Size column = 0; column < limit; column += w.wide, panel += w.k * 2 * V<T>)
    for (Size r = 0; r < rows; r++)
      tiles<T>(m, w.k, a(r), w.k, 1, panel, 2 * V<T>,
               [&](Size i, const Vec<T>& left, const Vec<T>& right) { done(r, i, column, left, right); });
}

// Both vectors of a result of product, at p + column, column up to n.
template <class T, class Value>
inline void both(T* p, Size column, Size n, const Value& value) {
  if (column + 2 * V<T> <= n) {
    value(0, V<T>).store(p + column);
    value(V<T>, V<T>).store(p + column + V<T>);
    return;
  }
  store<T>(value(0, std::min(V<T>, n - column)), p + column, n - column);
  if (column + V<T> < n) store<T>(value(V<T>, n - column - V<T>), p + column + V<T>, n - column - V<T>);
}

// to (m, k) = a (m, n) times packed weights, plus bias where there is one, plus `onto` where there is one.
template <class T>
inline void multiply(Size m, const T* a, const Packed<T>& w, const T* bias, const T* onto, T* to) {
  product<T>(1, m, [&](Size) { return a; }, w, [&](Size, Size i, Size column, const Vec<T>& left, const Vec<T>& right) {
    both<T>(to + i * w.n, column, w.n, [&](Size at, Size n) {
      Vec<T> v = at ? right : left;
      if (bias) v = v + load<T>(bias + column + at, n);
      if (onto) v = v + load<T>(onto + i * w.n + column + at, n);
      return v;
    });
  });
}

// sums (m, n) += a^T (m, pixels) b (pixels, n): a weight's gradient.
template <class T>
inline void outer(Size pixels, const T* a, Size m, const T* b, Size n, T* sums) {
  for (Size column = 0; column < n; column += 2 * V<T>)
    tiles<T>(m, pixels, a, 1, m, b + column, n, [&](Size i, const Vec<T>& left, const Vec<T>& right) {
      const T* old = sums + i * n + column;
      both<T>(sums + i * n, column, n, [&](Size at, Size count) { return (at ? right : left) + load<T>(old + at, count); });
    });
}

// sums (n) += the columns' sums of a (pixels, n).
template <class T> inline void add_columns(Size pixels, const T* a, Size n, T* sums) {
  for (Size j = 0; j < n; j += V<T>) {
    Vec<T> total = load<T>(sums + j, n - j);
    for (Size i = 0; i < pixels; i++) total = total + load<T>(a + i * n + j, n - j);
    store<T>(total, sums + j, n - j);
  }
}

// Norms.

// A pixel: (x - mean) / deviation; returns 1 / deviation. N: its vectors where their number is known, which may then
// stay in registers; 0: any number of channels.
template <class T, Size N> inline T normalise_pixel(const T* x, Size c, double eps, T* to) {
  const Size end = N ? N * V<T> : c;
  const auto at = [&](Size j) { return N ? Vec<T>::loadu(x + j) : load<T>(x + j, c - j); };
  Vec<T> total(T(0)), squares(T(0));
  for (Size j = 0; j < end; j += V<T>) total = total + at(j);
  const Vec<T> mean(sum<T>(total) / T(c));
  for (Size j = 0; j < end; j += V<T>) {
    Vec<T> d = at(j) - mean;
    if (!N && c - j < V<T>) d = Vec<T>::set(Vec<T>(T(0)), d, c - j);
    squares = at::vec::fmadd(d, d, squares);
  }
  const T scale = T(1) / std::sqrt(sum<T>(squares) / T(c) + T(eps));
  const Vec<T> factor(scale);
  for (Size j = 0; j < end; j += V<T>) {
    const Vec<T> v = (at(j) - mean) * factor;
    if (N) v.store(to + j); else store<T>(v, to + j, c - j);
  }
  return scale;
}

// A pixel: to = onto + the gradient of x, from that of its norm `normal`.
template <class T, Size N>
inline void normalise_pixel_back(const T* grad, const T* normal, T scale, const T* onto, Size c, T* to) {
  const Size end = N ? N * V<T> : c;
  const auto at = [&](const T* p, Size j) { return N ? Vec<T>::loadu(p + j) : load<T>(p + j, c - j); };
  Vec<T> first(T(0)), second(T(0));
  for (Size j = 0; j < end; j += V<T>) {
    const Vec<T> g = at(grad, j);
    first = first + (!N && c - j < V<T> ? Vec<T>::set(Vec<T>(T(0)), g, c - j) : g);
    second = at::vec::fmadd(g, at(normal, j), second);
  }
  const Vec<T> mean(sum<T>(first) / T(c)), along(sum<T>(second) / T(c)), factor(scale);
  for (Size j = 0; j < end; j += V<T>) {
    const Vec<T> v = at::vec::fmadd(at(grad, j) - mean - at(normal, j) * along, factor, at(onto, j));
    if (N) v.store(to + j); else store<T>(v, to + j, c - j);
  }
}

// The same for `count` pixels.
template <class T> void normalise(Size count, const T* x, Size c, double eps, T* to, T* deviations = nullptr) {
  const auto all = [&](auto one) {
    for (Size i = 0; i < count; i++) {
      const T d = one(x + i * c, to + i * c);
      if (deviations) deviations[i] = d;
    }
  };
  if (c == 2 * V<T>) all([&](const T* p, T* q) { return normalise_pixel<T, 2>(p, c, eps, q); });
  else if (c == 4 * V<T>) all([&](const T* p, T* q) { return normalise_pixel<T, 4>(p, c, eps, q); });
  else if (c == 8 * V<T>) all([&](const T* p, T* q) { return normalise_pixel<T, 8>(p, c, eps, q); });
  else all([&](const T* p, T* q) { return normalise_pixel<T, 0>(p, c, eps, q); });
}
template <class T>
void normalise_back(Size count, const T* grad, const T* normal, const T* scale, const T* onto, Size c, T* to) {
  const auto all = [&](auto one) { for (Size i = 0; i < count; i++) one(i * c, scale[i]); };
  if (c == 2 * V<T>) all([&](Size i, T s) { normalise_pixel_back<T, 2>(grad + i, normal + i, s, onto + i, c, to + i); });
  else if (c == 4 * V<T>) all([&](Size i, T s) { normalise_pixel_back<T, 4>(grad + i, normal + i, s, onto + i, c, to + i); });
  else if (c == 8 * V<T>) all([&](Size i, T s) { normalise_pixel_back<T, 8>(grad + i, normal + i, s, onto + i, c, to + i); });
  else all([&](Size i, T s) { normalise_pixel_back<T, 0>(grad + i, normal + i, s, onto + i, c, to + i); });
}

// Depth-wise convolution.

// Weights (n, 9) as [tap][n]; turned: the taps in opposite order, which is the convolution's transpose.
template <class T> std::vector<T> taps(const T* w, Size n, bool turned = false) {
  std::vector<T> to = buffer<T>(9 * n);
  for (Size i = 0; i < n; i++)
    for (Size tap = 0; tap < 9; tap++) to[(turned ? 8 - tap : tap) * n + i] = w[i * 9 + tap];
  return to;
}

// sums[p] += the convolution at pixels p = 0 ... P - 1 of V channels; rows point to the pixel in the middle of the first.
template <class T, Size P>
inline void around(const T* const (&rows)[3], const T* w, Size n, Size j, Vec<T> (&sums)[P]) {
#pragma GCC unroll 3
  for (Size dy = 0; dy < 3; dy++)
#pragma GCC unroll 3
    for (Size dx = 0; dx < 3; dx++) {
      const Vec<T> weight = Vec<T>::loadu(w + (3 * dy + dx) * n + j);
#pragma GCC unroll 4
      for (Size p = 0; p < P; p++)
        sums[p] = at::vec::fmadd(Vec<T>::loadu(rows[dy] + (p + dx - 1) * n + j), weight, sums[p]);
    }
}

// Both halves of the 2 C channels at P pixels; done(p, j, first, second).
template <class T, Size P, class Done>
inline void halves(const T* const (&rows)[3], const T* w, const T* bias, Size c, const Done& done) {
  for (Size j = 0; j < c; j += V<T>) {
    Vec<T> first[P], second[P];
#pragma GCC unroll 4
    for (Size p = 0; p < P; p++) {
      first[p] = load<T>(bias + j, c - j);
      second[p] = load<T>(bias + c + j, c - j);
    }
    around<T, P>(rows, w, 2 * c, j, first);
    around<T, P>(rows, w, 2 * c, c + j, second);
#pragma GCC unroll 4
    for (Size p = 0; p < P; p++) done(p, j, first[p], second[p]);
  }
}

// One row of `width` pixels, four at a time; done(pixel, j, first, second).
template <class T, class Done>
inline void convolve_row(const T* const (&rows)[3], Size width, const T* w, const T* bias, Size c, const Done& done) {
  Size x = 0;
  for (; x + 4 <= width; x += 4) {
    const T* const here[3] = {rows[0] + x * 2 * c, rows[1] + x * 2 * c, rows[2] + x * 2 * c};
    halves<T, 4>(here, w, bias, c, [&](Size p, Size j, const Vec<T>& a, const Vec<T>& b) { done(x + p, j, a, b); });
  }
  for (; x < width; x++) {
    const T* const here[3] = {rows[0] + x * 2 * c, rows[1] + x * 2 * c, rows[2] + x * 2 * c};
    halves<T, 1>(here, w, bias, c, [&](Size p, Size j, const Vec<T>& a, const Vec<T>& b) { done(x + p, j, a, b); });
  }
}

// Rows of a map that come and go: `slots` of them at a time, with a pixel of zeros at each end. Outside: zeros.
template <class T> struct Ring {
  Size slots, width, n, height;
  std::vector<T> values, zeros;
  Ring(Size slots, Size width, Size n, Size height)
      : slots(slots), width(width), n(n), height(height), values(buffer<T>(slots * (width + 2) * n)),
        zeros(buffer<T>((width + 2) * n)) {}
  T* at(Size y) { return (y < 0 || y >= height ? zeros.data() : values.data() + y % slots * (width + 2) * n) + n; }
};

// Rows begin ... end - 1 of the first convolution's result, of normal (end - begin, width, C).
template <class T>
void widen(Size begin, Size end, Size width, const T* normal, const Packed<T>& w, const T* bias, Ring<T>& ring) {
  std::vector<T*> rows;
  for (Size r = begin; r < end; r++) rows.push_back(ring.at(r));
  product<T>(end - begin, width, [&](Size r) { return normal + r * width * w.k; }, w,
             [&](Size r, Size i, Size q, const Vec<T>& a, const Vec<T>& b) {
               both<T>(rows[r] + i * w.n, q, w.n, [&](Size at, Size n) { return (at ? b : a) + load<T>(bias + q + at, n); });
             });
}

// How a map is shared out: `pieces` of it, some to each of `threads`.
struct Shares {
  Size pieces, threads;
  explicit Shares(Size pieces) : pieces(pieces), threads(std::max<Size>(1, std::min<Size>(pieces, at::get_num_threads()))) {}
  template <class Work> void run(const Work& work) const {  // work(thread, first piece, behind the last)
    at::parallel_for(0, threads, 1, [&](Size from, Size to) {
      for (Size t = from; t < to; t++) work(t, t * pieces / threads, (t + 1) * pieces / threads);
    });
  }
};

// Each image's rows in so many bands that every thread has one, of no fewer than four rows.
inline Size bands(Size images, Size height) {
  const Size wanted = (at::get_num_threads() + images - 1) / images;
  return std::max<Size>(1, std::min(std::max(wanted, (height + 127) / 128), height / 4));
}
inline Size pixels_at_once(Size c) { return std::max(FEWEST, PIECE / c); }

template <class T> const T* data(const Tensor& x) { return x.const_data_ptr<T>(); }

// The first half of a block.

template <class T>
void first(const Tensor& x, const Packed<T>& w1, const Tensor& b1, const Tensor& w2, const Tensor& b2, double eps,
           Tensor& gated, Tensor& mean) {
  const Size B = x.size(0), H = x.size(1), W = x.size(2), C = x.size(3), N = 2 * C;
  const Size columns = std::max<Size>(1, std::min((W * C + PIECE / 2 - 1) / (PIECE / 2), W / 16));
  const Size per_image = bands(B * columns, H), widest = (W + columns - 1) / columns + 2;
  const Size rows = std::max<Size>({1, 2 * PIECE / (widest * C) - 2, (FEWEST + widest - 1) / widest});
  const std::vector<T> w = taps(data<T>(w2), N);
  const Shares shares(B * columns * per_image);
  std::vector<double> sums(shares.pieces * C);
  const T *map = data<T>(x), *bias1 = data<T>(b1);
  T* const result = gated.mutable_data_ptr<T>();
  shares.run([&](Size, Size from, Size to) {
    std::vector<T> normal = buffer<T>((rows + 2) * widest * C), total = buffer<T>(C), bias = buffer<T>(N);
    std::copy_n(data<T>(b2), N, bias.data());
    for (Size piece = from; piece < to; piece++) {
      const Size image = piece / (columns * per_image), column = piece / per_image % columns, band = piece % per_image;
      const Size left = column * W / columns, right = (column + 1) * W / columns;
      const Size l = std::max<Size>(0, left - 1), width = std::min(W, right + 1) - l;
      const Size top = band * H / per_image, bottom = (band + 1) * H / per_image;
      Ring<T> ring(rows + 2, width, N, H);
      Size done = std::max<Size>(0, top - 1);  // rows above are in the ring
      for (Size y = top; y < bottom; y += rows) {
        const Size end = std::min(bottom, y + rows), want = std::min(H, end + 1), begin = done;
        for (Size r = begin; r < want; r++)
          normalise<T>(width, map + ((image * H + r) * W + l) * C, C, eps, normal.data() + (r - begin) * width * C);
        widen<T>(begin, want, width, normal.data(), w1, bias1, ring);
        done = want;
        for (Size r = y; r < end; r++) {
          const Size skip = (left - l) * N;
          const T* const here[3] = {ring.at(r - 1) + skip, ring.at(r) + skip, ring.at(r + 1) + skip};
          T* out = result + ((image * H + r) * W + left) * C;
          std::fill(total.begin(), total.end(), T(0));
          convolve_row<T>(here, right - left, w.data(), bias.data(), C, [&](Size i, Size j, const Vec<T>& a, const Vec<T>& b) {
            const Vec<T> v = a * b;
            store<T>(v, out + i * C + j, C - j);
            (Vec<T>::loadu(total.data() + j) + v).store(total.data() + j);
          });
          for (Size j = 0; j < C; j++) sums[piece * C + j] += total[j];
        }
      }
    }
  });
  T* means = mean.mutable_data_ptr<T>();
  for (Size image = 0; image < B; image++)
    for (Size j = 0; j < C; j++) {
      double total = 0;
      for (Size q = 0; q < columns * per_image; q++) total += sums[(image * columns * per_image + q) * C + j];
      means[image * C + j] = T(total / double(H * W));
    }
}

// to = gated times its image's factors, pixels from ... from + count.
template <class T> void scaled(const T* gated, const T* scale, Size from, Size count, Size area, Size c, T* to) {
  for (Size i = 0; i < count; i++) {
    const T* s = scale + (from + i) / area * c;
    for (Size j = 0; j < c; j += V<T>)
      store<T>(load<T>(gated + (from + i) * c + j, c - j) * load<T>(s + j, c - j), to + i * c + j, c - j);
  }
}

// The second half of a block: x + conv3 into `middle`, the rest into `out`; all three may be one.
template <class T>
void second(const Tensor& x, const Tensor& gated, const Tensor& scale, const Packed<T>& w3, const Tensor& b3,
            const Packed<T>& w4, const Tensor& b4, const Packed<T>& w5, const Tensor& b5, double eps, Tensor& middle,
            Tensor& out) {
  const Size area = x.size(1) * x.size(2), C = x.size(3), pixels = x.size(0) * area, size = pixels_at_once(C);
  Shares((pixels + size - 1) / size).run([&](Size, Size begin, Size end) {
    std::vector<T> a = buffer<T>(size * C), b = buffer<T>(size * C);
    const T* bias = data<T>(b4);
    for (Size from = begin * size; from < std::min(end * size, pixels); from += size) {
      const Size count = std::min(size, pixels - from);
      T* mid = middle.mutable_data_ptr<T>() + from * C;
      scaled<T>(data<T>(gated), data<T>(scale), from, count, area, C, a.data());
      multiply<T>(count, a.data(), w3, data<T>(b3), data<T>(x) + from * C, mid);
      normalise<T>(count, mid, C, eps, a.data());
      product<T>(1, count, [&](Size) { return a.data(); }, w4, [&](Size, Size i, Size j, const Vec<T>& l, const Vec<T>& r) {
        store<T>((l + load<T>(bias + j, C - j)) * (r + load<T>(bias + C + j, C - j)), b.data() + i * C + j, C - j);
      });
      multiply<T>(count, b.data(), w5, data<T>(b5), mid, out.mutable_data_ptr<T>() + from * C);
    }
  });
}

// The gradients of a thread's share, one after the other in one tensor of the whole.
template <class T> struct Gradients {
  std::vector<Size> starts;
  Tensor all;
  Gradients(Size threads, const std::vector<Size>& sizes, const Tensor& like) : starts{0} {
    for (Size n : sizes) starts.push_back(starts.back() + n);
    all = at::zeros({threads, starts.back()}, like.options());
  }
  T* of(Size thread, Size which) { return all.mutable_data_ptr<T>() + thread * starts.back() + starts[which]; }
  std::vector<Tensor> sums() const {
    const Tensor total = all.size(0) == 1 ? all[0] : all.sum(0);
    std::vector<Tensor> found;
    for (size_t i = 0; i + 1 < starts.size(); i++) found.push_back(total.slice(0, starts[i], starts[i + 1]));
    return found;
  }
};

// Back through the second half, all products computed anew. of_middle: the gradient of x + conv3(...). of_scaled: that
// of the gated map times its factors. Gradients: w3, b3, w4, b4, w5, b5, and of the factors for each image.
template <class T>
std::vector<Tensor> second_back(const Tensor& grad, const Tensor& middle, const Tensor& gated, const Tensor& scale,
                                const Tensor& w3, const Tensor& w4, const Tensor& b4, const Tensor& w5, double eps,
                                Tensor& of_middle, Tensor& of_scaled) {
  const Size B = grad.size(0), area = grad.size(1) * grad.size(2), C = grad.size(3), N = 2 * C;
  const Size pixels = B * area, size = pixels_at_once(C);
  const Packed<T> up4(data<T>(w4), N, C, C, 1, true);
  const Packed<T> down3(data<T>(w3), C, C, 1, C), down4(data<T>(w4), C, N, 1, C), down5(data<T>(w5), C, C, 1, C);
  const Shares shares((pixels + size - 1) / size);
  Gradients<T> sums(shares.threads, {C * C, C, N * C, N, C * C, C, B * C}, grad);
  shares.run([&](Size thread, Size begin, Size end) {
    T* const of[7] = {sums.of(thread, 0), sums.of(thread, 1), sums.of(thread, 2), sums.of(thread, 3),
                      sums.of(thread, 4), sums.of(thread, 5), sums.of(thread, 6)};
    std::vector<T> normal = buffer<T>(size * C), wide = buffer<T>(size * N), gate = buffer<T>(size * C),
                   back = buffer<T>(size * C), deviation(size);
    const T *bias = data<T>(b4), *kept = data<T>(gated);
    for (Size from = begin * size; from < std::min(end * size, pixels); from += size) {
      const Size count = std::min(size, pixels - from);
      const T* g = data<T>(grad) + from * C;
      T* mid = of_middle.mutable_data_ptr<T>() + from * C;
      T* inner = of_scaled.mutable_data_ptr<T>() + from * C;
      normalise<T>(count, data<T>(middle) + from * C, C, eps, normal.data(), deviation.data());
      product<T>(1, count, [&](Size) { return normal.data(); }, up4, [&](Size, Size i, Size j, const Vec<T>& l, const Vec<T>& r) {
        const Vec<T> a = l + load<T>(bias + j, C - j), b = r + load<T>(bias + C + j, C - j);
        store<T>(a, wide.data() + i * N + j, C - j);
        store<T>(b, wide.data() + i * N + C + j, C - j);
        store<T>(a * b, gate.data() + i * C + j, C - j);
      });
      outer<T>(count, g, C, gate.data(), C, of[4]);
      add_columns<T>(count, g, C, of[5]);
      multiply<T>(count, g, down5, nullptr, nullptr, back.data());
      for (Size i = 0; i < count; i++)  // the gate's two factors become their gradients
        for (Size j = 0; j < C; j += V<T>) {
          T* a = wide.data() + i * N + j;
          const Vec<T> d = load<T>(back.data() + i * C + j, C - j), one = load<T>(a, C - j), two = load<T>(a + C, C - j);
          store<T>(d * two, a, C - j);
          store<T>(d * one, a + C, C - j);
        }
      outer<T>(count, wide.data(), N, normal.data(), C, of[2]);
      add_columns<T>(count, wide.data(), N, of[3]);
      multiply<T>(count, wide.data(), down4, nullptr, nullptr, back.data());
      normalise_back<T>(count, back.data(), normal.data(), deviation.data(), g, C, mid);
      scaled<T>(data<T>(gated), data<T>(scale), from, count, area, C, gate.data());
      outer<T>(count, mid, C, gate.data(), C, of[0]);
      add_columns<T>(count, mid, C, of[1]);
      multiply<T>(count, mid, down3, nullptr, nullptr, inner);
      for (Size i = 0; i < count; i++) {
        T* total = of[6] + (from + i) / area * C;
        const T* y = kept + (from + i) * C;
        for (Size j = 0; j < C; j += V<T>)
          store<T>(at::vec::fmadd(load<T>(inner + i * C + j, C - j), load<T>(y + j, C - j), load<T>(total + j, C - j)),
                   total + j, C - j);
      }
    }
  });
  return sums.sums();
}

// Back through the first half. The gated map's gradient is of_scaled times scale plus of_mean, the average's share for
// each pixel (B, C). of_x: of_middle plus what comes back. Gradients: w1, b1, w2 as [tap][2 C], b2.
template <class T>
std::vector<Tensor> first_back(const Tensor& x, const Tensor& of_middle, const Tensor& of_scaled, const Tensor& scale,
                               const Tensor& of_mean, const Tensor& w1, const Tensor& b1, const Tensor& w2,
                               const Tensor& b2, double eps, Tensor& of_x) {
  const Size B = x.size(0), H = x.size(1), W = x.size(2), C = x.size(3), N = 2 * C;
  const Packed<T> up(data<T>(w1), N, C, C, 1), down(data<T>(w1), C, N, 1, C);
  const std::vector<T> w = taps(data<T>(w2), N), turned = taps(data<T>(w2), N, true), none = buffer<T>(N);
  const Size per_image = bands(B, H);
  const Size rows = std::max<Size>({1, PIECE / (W * C) - 1, (FEWEST + W - 1) / W});
  const Shares shares(B * per_image);
  Gradients<T> sums(shares.threads, {N * C, N, 9 * N, N}, x);
  shares.run([&](Size thread, Size from, Size to) {
    T* const of[4] = {sums.of(thread, 0), sums.of(thread, 1), sums.of(thread, 2), sums.of(thread, 3)};
    std::vector<T> normal = buffer<T>((rows + 4) * W * C), deviation(rows * W), bias = buffer<T>(N);
    std::vector<T> flat = buffer<T>(rows * W * N), back = buffer<T>(rows * W * C), of_taps = buffer<T>(9 * N);
    std::copy_n(data<T>(b2), N, bias.data());
    for (Size piece = from; piece < to; piece++) {
      const Size image = piece / per_image, band = piece % per_image;
      const Size top = band * H / per_image, bottom = (band + 1) * H / per_image;
      const T *s = data<T>(scale) + image * C, *m = data<T>(of_mean) + image * C;
      Ring<T> wide(rows + 4, W, N, H), grads(rows + 2, W, N, H);
      Size have = std::max<Size>(0, top - 2), known = std::max<Size>(0, top - 1);  // rows of the two rings, up to these
      for (Size y = top; y < bottom; y += rows) {
        const Size end = std::min(bottom, y + rows), want = std::min(H, end + 2), begin = have;
        for (Size r = begin; r < want; r++)
          normalise<T>(W, data<T>(x) + (image * H + r) * W * C, C, eps, normal.data() + (r - begin) * W * C);
        if (want > begin) widen<T>(begin, want, W, normal.data(), up, data<T>(b1), wide);
        have = std::max(have, want);
        for (Size r = known; r < std::min(H, end + 1); r++) {  // through the gate
          const T* const here[3] = {wide.at(r - 1), wide.at(r), wide.at(r + 1)};
          T* grad = grads.at(r);
          const T* inner = data<T>(of_scaled) + (image * H + r) * W * C;
          convolve_row<T>(here, W, w.data(), bias.data(), C, [&](Size i, Size j, const Vec<T>& a, const Vec<T>& b) {
            const Vec<T> d = at::vec::fmadd(load<T>(inner + i * C + j, C - j), load<T>(s + j, C - j), load<T>(m + j, C - j));
            store<T>(d * b, grad + i * N + j, C - j);
            store<T>(d * a, grad + i * N + C + j, C - j);
          });
          if (r < top || r >= bottom) continue;  // another band's
          for (Size left = 0; left < W; left += 16) {
            const Size right = std::min(W, left + 16);
            for (Size j = 0; j < N; j += V<T>) {
              Vec<T> tap[9];
              for (Size q = 0; q < 9; q++) tap[q] = Vec<T>::loadu(of_taps.data() + q * N + j);
              for (Size i = left; i < right; i++) {
                const Vec<T> d = Vec<T>::loadu(grad + i * N + j);
#pragma GCC unroll 9
                for (Size q = 0; q < 9; q++)
                  tap[q] = at::vec::fmadd(d, Vec<T>::loadu(here[q / 3] + (i + q % 3 - 1) * N + j), tap[q]);
              }
              for (Size q = 0; q < 9; q++) store<T>(tap[q], of_taps.data() + q * N + j, N - j);
            }
          }
          add_columns<T>(W, grad, N, of[3]);
        }
        known = std::max(known, std::min(H, end + 1));
        for (Size r = y; r < end; r++) {
          const T* const here[3] = {grads.at(r - 1), grads.at(r), grads.at(r + 1)};
          T* out = flat.data() + (r - y) * W * N;
          convolve_row<T>(here, W, turned.data(), none.data(), C, [&](Size i, Size j, const Vec<T>& a, const Vec<T>& b) {
            store<T>(a, out + i * N + j, C - j);
            store<T>(b, out + i * N + C + j, C - j);
          });
        }
        const Size count = (end - y) * W, at = (image * H + y) * W;
        normalise<T>(count, data<T>(x) + at * C, C, eps, normal.data(), deviation.data());
        outer<T>(count, flat.data(), N, normal.data(), C, of[0]);
        add_columns<T>(count, flat.data(), N, of[1]);
        multiply<T>(count, flat.data(), down, nullptr, nullptr, back.data());
        normalise_back<T>(count, back.data(), normal.data(), deviation.data(), data<T>(of_middle) + at * C, C,
                          of_x.mutable_data_ptr<T>() + at * C);
      }
    }
    std::copy_n(of_taps.data(), 9 * N, of[2]);
  });
  return sums.sums();
}

// What Python calls.

// A weight (n, k, ...) as the operations below read it, in one dimension, for whoever uses it more than once.
Tensor pack_op(const Tensor& w, bool gated) {
  Tensor found;
  AT_DISPATCH_FLOATING_TYPES(w.scalar_type(), "naf_pack", [&] {
    const Tensor matrix = w.flatten(1).contiguous();
    const Packed<scalar_t> packed(matrix, matrix.size(0), matrix.size(1), gated);
    found = at::empty({Size(packed.own.size())}, w.options());
    std::copy(packed.own.begin(), packed.own.end(), found.mutable_data_ptr<scalar_t>());
  });
  return found;
}

void check(const Tensor& x) {
  TORCH_CHECK(x.dim() == 4 && x.is_contiguous() && x.device().is_cpu(), "a map is (B, H, W, C), contiguous, on a CPU");
}

std::tuple<Tensor, Tensor> first_op(const Tensor& x, const Tensor& w1, const Tensor& b1, const Tensor& w2,
                                    const Tensor& b2, double eps, std::optional<Tensor> into) {
  check(x);
  Tensor gated = into.has_value() ? *into : at::empty_like(x), mean = at::empty({x.size(0), x.size(3)}, x.options());
  check(gated);
  AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "naf_first", [&] {
    const Size C = x.size(3);
    const Packed<scalar_t> packed(w1, 2 * C, C);
    first<scalar_t>(x, packed, b1, w2, b2, eps, gated, mean);
  });
  return {gated, mean};
}

std::tuple<Tensor, Tensor> second_op(const Tensor& x, const Tensor& gated, const Tensor& scale, const Tensor& w3,
                                     const Tensor& b3, const Tensor& w4, const Tensor& b4, const Tensor& w5,
                                     const Tensor& b5, double eps, bool in_place) {
  check(x), check(gated);
  Tensor middle = in_place ? x : at::empty_like(x), out = in_place ? x : at::empty_like(x);
  AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "naf_second", [&] {
    const Size C = x.size(3);
    const Packed<scalar_t> p3(w3, C, C), p4(w4, 2 * C, C, true), p5(w5, C, C);
    second<scalar_t>(x, gated, scale, p3, b3, p4, b4, p5, b5, eps, middle, out);
  });
  return {middle, out};
}

std::vector<Tensor> second_back_op(const Tensor& grad, const Tensor& middle, const Tensor& gated, const Tensor& scale,
                                   const Tensor& w3, const Tensor& w4, const Tensor& b4, const Tensor& w5, double eps) {
  check(grad), check(middle), check(gated);
  Tensor of_middle = at::empty_like(grad), of_scaled = at::empty_like(grad);
  std::vector<Tensor> found;
  AT_DISPATCH_FLOATING_TYPES(grad.scalar_type(), "naf_second_back", [&] {
    found = second_back<scalar_t>(grad, middle, gated, scale, w3, w4, b4, w5, eps, of_middle, of_scaled);
  });
  found.insert(found.begin(), {of_middle, of_scaled});
  return found;
}

std::vector<Tensor> first_back_op(const Tensor& x, const Tensor& of_middle, const Tensor& of_scaled, const Tensor& scale,
                                  const Tensor& of_mean, const Tensor& w1, const Tensor& b1, const Tensor& w2,
                                  const Tensor& b2, double eps) {
  check(x), check(of_middle), check(of_scaled);
  Tensor of_x = at::empty_like(x);
  std::vector<Tensor> found;
  AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "naf_first_back", [&] {
    found = first_back<scalar_t>(x, of_middle, of_scaled, scale, of_mean, w1, b1, w2, b2, eps, of_x);
  });
  found.insert(found.begin(), of_x);
  return found;
}

// A block with parameters as they are trained, in the order of FusedBlock.apply in fused_block.py.

enum Parameter { NORM1, SHIFT1, CONV1, BIAS1, CONV2, BIAS2, SCA, SCA_BIAS, CONV3, BIAS3, NORM2, SHIFT2, CONV4, BIAS4, CONV5,
                 BIAS5, BETA, GAMMA, COUNT };

struct Folded {
  Tensor first, third, fourth, fifth;  // the 1x1 weights as matrices, unfolded
  Tensor w1, b1, w2, ws, w3, b3, w4, b4, w5, b5, beta, gamma;
  explicit Folded(const std::vector<Tensor>& p) {
    TORCH_CHECK(p.size() == COUNT, "a block has ", int(COUNT), " parameters");
    first = p[CONV1].flatten(1), third = p[CONV3].flatten(1), fourth = p[CONV4].flatten(1), fifth = p[CONV5].flatten(1);
    beta = p[BETA].reshape({-1, 1}), gamma = p[GAMMA].reshape({-1, 1});
    w1 = first * p[NORM1], b1 = p[BIAS1].addmv(first, p[SHIFT1]), w2 = p[CONV2].flatten(1).contiguous();
    ws = p[SCA].flatten(1), w3 = third * beta, b3 = p[BIAS3] * beta.flatten();
    w4 = fourth * p[NORM2], b4 = p[BIAS4].addmv(fourth, p[SHIFT2]), w5 = fifth * gamma, b5 = p[BIAS5] * gamma.flatten();
  }
};

// The output, and what the backward pass needs beside the input: gated map, its means, factors, the map in the middle.
std::vector<Tensor> block_op(const Tensor& x, double eps1, double eps2, const std::vector<Tensor>& parameters) {
  const Folded f(parameters);
  const auto [gated, mean] = first_op(x, f.w1, f.b1, f.w2, parameters[BIAS2], eps1, std::nullopt);
  const Tensor scale = mean.mm(f.ws.t()) + parameters[SCA_BIAS];
  const auto [middle, out] = second_op(x, gated, scale, f.w3, f.b3, f.w4, f.b4, f.w5, f.b5, eps2, false);
  return {out, gated, mean, scale, middle};
}

// The gradients of x and of the parameters, in their shapes.
std::vector<Tensor> block_back_op(const Tensor& grad, const Tensor& x, const Tensor& gated, const Tensor& mean,
                                  const Tensor& scale, const Tensor& middle, double eps1, double eps2,
                                  const std::vector<Tensor>& p) {
  const Folded f(p);
  const Size C = x.size(3);
  const std::vector<Tensor> b = second_back_op(grad, middle, gated, scale, f.w3, f.w4, f.b4, f.w5, eps2);
  const Tensor of_scale = b[8].view({-1, C}), of_mean = of_scale.mm(f.ws) / double(x.size(1) * x.size(2));
  const std::vector<Tensor> a = first_back_op(x, b[0], b[1], scale, of_mean, f.w1, f.b1, f.w2, p[BIAS2], eps1);
  const Tensor g1 = a[1].view({-1, C}), g3 = b[2].view({-1, C}), g4 = b[4].view({-1, C}), g5 = b[6].view({-1, C});
  std::vector<Tensor> of(COUNT);
  of[NORM1] = (g1 * f.first).sum(0), of[SHIFT1] = f.first.t().mv(a[2]), of[BIAS1] = a[2];
  of[CONV1] = (g1 * p[NORM1]).addr_(a[2], p[SHIFT1]);
  of[CONV2] = a[3].view({9, -1}).t().contiguous(), of[BIAS2] = a[4];
  of[SCA] = of_scale.t().mm(mean), of[SCA_BIAS] = of_scale.sum(0);
  of[CONV3] = g3 * f.beta, of[BIAS3] = b[3] * f.beta.flatten();
  of[NORM2] = (g4 * f.fourth).sum(0), of[SHIFT2] = f.fourth.t().mv(b[5]), of[BIAS4] = b[5];
  of[CONV4] = (g4 * p[NORM2]).addr_(b[5], p[SHIFT2]);
  of[CONV5] = g5 * f.gamma, of[BIAS5] = b[7] * f.gamma.flatten();
  of[BETA] = (g3 * f.third).sum(1) + b[3] * p[BIAS3], of[GAMMA] = (g5 * f.fifth).sum(1) + b[7] * p[BIAS5];
  std::vector<Tensor> found{a[0]};
  for (int i = 0; i < COUNT; i++) found.push_back(of[i].view(p[i].sizes()));
  return found;
}

}  // namespace

TORCH_LIBRARY(demoe, library) {
  library.def("first(Tensor x, Tensor w1, Tensor b1, Tensor w2, Tensor b2, float eps, Tensor(a!)? into=None) -> (Tensor(a!), Tensor)");
  library.def("second(Tensor x, Tensor gated, Tensor scale, Tensor w3, Tensor b3, Tensor w4, Tensor b4, Tensor w5, Tensor b5, float eps, bool in_place=False) -> (Tensor, Tensor)");
  library.def("pack(Tensor weight, bool gated=False) -> Tensor");
  library.def("block(Tensor x, float eps1, float eps2, Tensor[] parameters) -> Tensor[]");
  library.def("block_back(Tensor grad, Tensor x, Tensor gated, Tensor mean, Tensor scale, Tensor middle, float eps1, float eps2, Tensor[] parameters) -> Tensor[]");
  library.impl("first", c10::DispatchKey::CPU, first_op);
  library.impl("second", c10::DispatchKey::CPU, second_op);
  library.impl("pack", c10::DispatchKey::CPU, pack_op);
  library.impl("block", c10::DispatchKey::CPU, block_op);
  library.impl("block_back", c10::DispatchKey::CPU, block_back_op);
}
