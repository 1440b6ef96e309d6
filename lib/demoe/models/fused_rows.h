// Norms, the depth-wise convolution, rows of a map that come and go, and how a map is shared out (fused_block.cpp).

#pragma once

#include "fused_products.h"

namespace {

// Norms.

// A pixel: (x - mean) / deviation; returns 1 / deviation. N: its vectors where their number is known, which may then
// stay in registers; 0: any number of channels.
template <class T, Size N, class S> inline T normalise_pixel(const S* x, Size c, double eps, T* to) {
  const Size end = N ? N * V<T> : c;
  const auto at = [&](Size j) { return load<T>(x + j, N ? V<T> : c - j); };
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
template <class T, class S> void normalise(Size count, const S* x, Size c, double eps, T* to, T* deviations = nullptr) {
  const auto all = [&](auto one) {
    for (Size i = 0; i < count; i++) {
      const T d = one(x + i * c, to + i * c);
      if (deviations) deviations[i] = d;
    }
  };
  if (c == V<T>) all([&](const S* p, T* q) { return normalise_pixel<T, 1>(p, c, eps, q); });
  else if (c == 2 * V<T>) all([&](const S* p, T* q) { return normalise_pixel<T, 2>(p, c, eps, q); });
  else if (c == 4 * V<T>) all([&](const S* p, T* q) { return normalise_pixel<T, 4>(p, c, eps, q); });
  else if (c == 8 * V<T>) all([&](const S* p, T* q) { return normalise_pixel<T, 8>(p, c, eps, q); });
  else all([&](const S* p, T* q) { return normalise_pixel<T, 0>(p, c, eps, q); });
}
template <class T>
void normalise_back(Size count, const T* grad, const T* normal, const T* scale, const T* onto, Size c, T* to) {
  const auto each = [&](auto one) {
    for (Size p = 0, i = 0; p < count; p++, i += c) one(grad + i, normal + i, scale[p], onto + i, c, to + i);
  };
  if (c == V<T>) each([&](auto... of) { normalise_pixel_back<T, 1>(of...); });
  else if (c == 2 * V<T>) each([&](auto... of) { normalise_pixel_back<T, 2>(of...); });
  else if (c == 4 * V<T>) each([&](auto... of) { normalise_pixel_back<T, 4>(of...); });
  else if (c == 8 * V<T>) each([&](auto... of) { normalise_pixel_back<T, 8>(of...); });
  else each([&](auto... of) { normalise_pixel_back<T, 0>(of...); });
}

// Depth-wise convolution.

// Weights (n, 9) as [tap][n]; turned: the taps in opposite order, which is the convolution's transpose.
template <class T> std::vector<T> taps(const T* w, Size n, bool turned = false) {
  std::vector<T> to = buffer<T>(9 * n);
  for (Size i = 0; i < n; i++)
    for (Size tap = 0; tap < 9; tap++) to[(turned ? 8 - tap : tap) * n + i] = w[i * 9 + tap];
  return to;
}

// sums[p] += the convolution at pixels p = 0 ... P - 1 of V channels; rows point to the middle pixel of the first.
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
template <class T, class P>
void widen(Size begin, Size end, Size width, const T* normal, const Packed<T, P>& w, const T* bias, Ring<T>& ring) {
  for (Size r = begin; r < end; r++)
    multiply<T, P, T>(width, normal + (r - begin) * width * w.k, w, bias, nullptr, ring.at(r));
}

// How a map is shared out: `pieces` of it, some to each of `threads`.
struct Shares {
  Size pieces, threads;
  explicit Shares(Size pieces)
      : pieces(pieces), threads(std::max<Size>(1, std::min<Size>(pieces, at::get_num_threads()))) {}
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

}  // namespace
