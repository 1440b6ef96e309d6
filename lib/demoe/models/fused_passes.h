// The two halves of a block, forward and backward, each one pass over its map (fused_block.cpp).

#pragma once

#include "fused_gradients.h"

namespace {

// The first half of a block.

template <class T, class P, class S>
void first(const Tensor& x, const Packed<T, P>& w1, const Tensor& b1, const Tensor& w2, const Tensor& b2, double eps,
           Tensor& gated, Tensor& mean) {
  const Size B = x.size(0), H = x.size(1), W = x.size(2), C = x.size(3), N = 2 * C;
  const Size columns = std::max<Size>(1, std::min((W * C + PIECE / 2 - 1) / (PIECE / 2), W / 16));
  const Size per_image = bands(B * columns, H), widest = (W + columns - 1) / columns + 2;
  const Size rows = std::max<Size>({1, 2 * PIECE / (widest * C) - 2, (FEWEST + widest - 1) / widest});
  const std::vector<T> w = taps(data<T>(w2), N);
  const Shares shares(B * columns * per_image);
  std::vector<double> sums(shares.pieces * C);
  const S* map = data<S>(x);
  const T* bias1 = data<T>(b1);
  S* const result = gated.mutable_data_ptr<S>();
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
        widen<T, P>(begin, want, width, normal.data(), w1, bias1, ring);
        done = want;
        for (Size r = y; r < end; r++) {
          const Size skip = (left - l) * N;
          const T* const here[3] = {ring.at(r - 1) + skip, ring.at(r) + skip, ring.at(r + 1) + skip};
          S* out = result + ((image * H + r) * W + left) * C;
          std::fill(total.begin(), total.end(), T(0));
          const auto gate = [&](Size i, Size j, const Vec<T>& a, const Vec<T>& b) {
            const Vec<T> v = a * b;
            store<T>(v, out + i * C + j, C - j);
            (Vec<T>::loadu(total.data() + j) + v).store(total.data() + j);
          };
          convolve_row<T>(here, right - left, w.data(), bias.data(), C, gate);
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
template <class T, class S>
void scaled(const S* gated, const T* scale, Size from, Size count, Size area, Size c, T* to) {
  for (Size i = 0; i < count; i++) {
    const T* s = scale + (from + i) / area * c;
    for (Size j = 0; j < c; j += V<T>)
      store<T>(load<T>(gated + (from + i) * c + j, c - j) * load<T>(s + j, c - j), to + i * c + j, c - j);
  }
}

// The second half of a block: x + conv3 into `middle`, the rest into `out`; all three may be one. Maps of another type
// than what is computed in have no `middle`.
template <class T, class P, class S>
void second(const Tensor& x, const Tensor& gated, const Tensor& scale, const Packed<T, P>& w3, const Tensor& b3,
            const Packed<T, P>& w4, const Tensor& b4, const Packed<T, P>& w5, const Tensor& b5, double eps,
            Tensor& middle, Tensor& out) {
  const Size area = x.size(1) * x.size(2), C = x.size(3), pixels = x.size(0) * area, size = pixels_at_once(C);
  Shares((pixels + size - 1) / size).run([&](Size, Size begin, Size end) {
    std::vector<T> a = buffer<T>(size * C), b = buffer<T>(size * C), own;
    if (!std::is_same_v<S, T>) own = buffer<T>(size * C);
    for (Size from = begin * size; from < std::min(end * size, pixels); from += size) {
      const Size count = std::min(size, pixels - from);
      T* mid = own.data();
      if constexpr (std::is_same_v<S, T>) mid = middle.mutable_data_ptr<T>() + from * C;
      scaled<T>(data<S>(gated), data<T>(scale), from, count, area, C, a.data());
      multiply<T, P>(count, a.data(), w3, data<T>(b3), data<S>(x) + from * C, mid);
      normalise<T>(count, mid, C, eps, a.data());
      multiply_gated<T, P>(count, a.data(), w4, data<T>(b4), [&](Size i, Size j, const Vec<T>& l, const Vec<T>& r) {
        store<T>(l * r, b.data() + i * C + j, C - j);
      });
      multiply<T, P>(count, b.data(), w5, data<T>(b5), mid, out.mutable_data_ptr<S>() + from * C);
    }
  });
}

// Back through the second half, all products computed anew. of_middle: the gradient of x + conv3(...). of_scaled: that
// of the gated map times its factors. Gradients: w3, b3, w4, b4, w5, b5, and of the factors for each image.
template <class T, class P>
Gradients<T> second_back(const Tensor& grad, const Tensor& middle, const Tensor& gated, const Tensor& scale,
                         const Weight<T>& w3, const Weight<T>& w4, const Tensor& b4, const Weight<T>& w5, double eps,
                         Tensor& of_middle, Tensor& of_scaled) {
  const Size B = grad.size(0), area = grad.size(1) * grad.size(2), C = grad.size(3), N = 2 * C;
  const Size pixels = B * area, size = pixels_at_once(C);
  const Packed<T, P> up4(w4, false, true), down3(w3, true), down4(w4, true), down5(w5, true);
  const Shares shares((pixels + size - 1) / size);
  Gradients<T> sums(shares.threads, {C * C, C, N * C, N, C * C, C, B * C}, grad);
  shares.run([&](Size thread, Size begin, Size end) {
    T* const of[7] = {sums.of(thread, 0), sums.of(thread, 1), sums.of(thread, 2), sums.of(thread, 3),
                      sums.of(thread, 4), sums.of(thread, 5), sums.of(thread, 6)};
    std::vector<T> normal = buffer<T>(size * C), wide = buffer<T>(size * N), gate = buffer<T>(size * C),
                   back = buffer<T>(size * C), deviation(size);
    const T* kept = data<T>(gated);
    for (Size from = begin * size; from < std::min(end * size, pixels); from += size) {
      const Size count = std::min(size, pixels - from);
      const T* g = data<T>(grad) + from * C;
      T* mid = of_middle.mutable_data_ptr<T>() + from * C;
      T* inner = of_scaled.mutable_data_ptr<T>() + from * C;
      normalise<T>(count, data<T>(middle) + from * C, C, eps, normal.data(), deviation.data());
      const auto keep = [&](Size i, Size j, const Vec<T>& a, const Vec<T>& b) {
        store<T>(a, wide.data() + i * N + j, C - j);
        store<T>(b, wide.data() + i * N + C + j, C - j);
        store<T>(a * b, gate.data() + i * C + j, C - j);
      };
      multiply_gated<T, P>(count, normal.data(), up4, data<T>(b4), keep);
      outer<T, P>(count, g, C, gate.data(), C, of[4]);
      add_columns<T>(count, g, C, of[5]);
      multiply<T, P, T>(count, g, down5, nullptr, nullptr, back.data());
      for (Size i = 0; i < count; i++)  // the gate's two factors become their gradients
        for (Size j = 0; j < C; j += V<T>) {
          T* a = wide.data() + i * N + j;
          const Vec<T> d = load<T>(back.data() + i * C + j, C - j);
          const Vec<T> one = load<T>(a, C - j), two = load<T>(a + C, C - j);
          store<T>(d * two, a, C - j);
          store<T>(d * one, a + C, C - j);
        }
      outer<T, P>(count, wide.data(), N, normal.data(), C, of[2]);
      add_columns<T>(count, wide.data(), N, of[3]);
      multiply<T, P, T>(count, wide.data(), down4, nullptr, nullptr, back.data());
      normalise_back<T>(count, back.data(), normal.data(), deviation.data(), g, C, mid);
      scaled<T>(data<T>(gated), data<T>(scale), from, count, area, C, gate.data());
      outer<T, P>(count, mid, C, gate.data(), C, of[0]);
      add_columns<T>(count, mid, C, of[1]);
      multiply<T, P, T>(count, mid, down3, nullptr, nullptr, inner);
      for (Size i = 0; i < count; i++) {
        T* total = of[6] + (from + i) / area * C;
        const T* y = kept + (from + i) * C;
        for (Size j = 0; j < C; j += V<T>)
          store<T>(at::vec::fmadd(load<T>(inner + i * C + j, C - j), load<T>(y + j, C - j), load<T>(total + j, C - j)),
                   total + j, C - j);
      }
    }
  });
  return sums;
}

// Back through the first half. The gated map's gradient is of_scaled times scale plus of_mean, the average's share for
// each pixel (B, C). of_x: of_middle plus what comes back. Gradients: w1, b1, w2 as [tap][2 C], b2.
template <class T, class P>
Gradients<T> first_back(const Tensor& x, const Tensor& of_middle, const Tensor& of_scaled, const Tensor& scale,
                        const Tensor& of_mean, const Weight<T>& w1, const Tensor& b1, const Tensor& w2,
                        const Tensor& b2, double eps, Tensor& of_x) {
  const Size B = x.size(0), H = x.size(1), W = x.size(2), C = x.size(3), N = 2 * C;
  const Packed<T, P> up(w1), down(w1, true);
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
        if (want > begin) widen<T, P>(begin, want, W, normal.data(), up, data<T>(b1), wide);
        have = std::max(have, want);
        for (Size r = known; r < std::min(H, end + 1); r++) {  // through the gate
          const T* const here[3] = {wide.at(r - 1), wide.at(r), wide.at(r + 1)};
          T* grad = grads.at(r);
          const T* inner = data<T>(of_scaled) + (image * H + r) * W * C;
          convolve_row<T>(here, W, w.data(), bias.data(), C, [&](Size i, Size j, const Vec<T>& a, const Vec<T>& b) {
            const Size n = C - j;
            const Vec<T> d = at::vec::fmadd(load<T>(inner + i * C + j, n), load<T>(s + j, n), load<T>(m + j, n));
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
          const auto keep = [&](Size i, Size j, const Vec<T>& a, const Vec<T>& b) {
            store<T>(a, out + i * N + j, C - j);
            store<T>(b, out + i * N + C + j, C - j);
          };
          convolve_row<T>(here, W, turned.data(), none.data(), C, keep);
        }
        const Size count = (end - y) * W, at = (image * H + y) * W;
        normalise<T>(count, data<T>(x) + at * C, C, eps, normal.data(), deviation.data());
        outer<T, P>(count, flat.data(), N, normal.data(), C, of[0]);
        add_columns<T>(count, flat.data(), N, of[1]);
        multiply<T, P, T>(count, flat.data(), down, nullptr, nullptr, back.data());
        normalise_back<T>(count, back.data(), normal.data(), deviation.data(), data<T>(of_middle) + at * C, C,
                          of_x.mutable_data_ptr<T>() + at * C);
      }
    }
    std::copy_n(of_taps.data(), 9 * N, of[2]);
  });
  return sums;
}

}  // namespace
