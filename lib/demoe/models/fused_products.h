// Matrix products in registers: what the fused block spends most of its time on (fused_block.cpp).

#pragma once

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/cpu/vec/functional.h>

#include <algorithm>
#include <cmath>

#include "fused_numbers.h"

namespace {

using at::Tensor;

#if defined(CPU_CAPABILITY_AVX2)
constexpr Size ROWS = 6;  // of a register tile: 6 x 2 sums, 2 weights and a factor fill 16 registers
#else
constexpr Size ROWS = 8;  // of 32 registers
#endif
constexpr Size PIECE = 1 << 14;   // numbers of a piece of a map with C channels: 64 KiB, of a cache of 512
constexpr Size FEWEST = 48;       // pixels at once, so that weights that are read from afar are used often

template <class T> inline T sum(const Vec<T>& v) {
  return at::vec::vec_reduce_all<T>([](const Vec<T>& a, const Vec<T>& b) { return a + b; }, v);
}

// Products. Rows of A, broadcast, times panels of 2 V columns of B, both in the words of P (fused_numbers.h).

// M rows of A times one panel, k words long: to (M, 2 V). Not inlined: registers are for the sums, and it is compiled
// once a height.
template <class T, class P, Size M>
C10_NOINLINE void tile(Size k, const Word<P>* a, Size row, Size step, const Word<P>* b, Size below, T* to) {
  Vec<T> left[M], right[M];
#pragma GCC unroll 8
  for (Size i = 0; i < M; i++) left[i] = right[i] = Vec<T>(T(0));
  for (Size q = 0; q < k; q++, a += step, b += below) {
    const auto b0 = P::words(b), b1 = P::words(b + V<T>);
#pragma GCC unroll 8
    for (Size i = 0; i < M; i++) {
      const auto factor = P::spread(a + i * row);
      left[i] = P::add(factor, b0, left[i]);
      right[i] = P::add(factor, b1, right[i]);
    }
  }
#pragma GCC unroll 8
  for (Size i = 0; i < M; i++) {
    left[i].store(to + 2 * i * V<T>);
    right[i].store(to + (2 * i + 1) * V<T>);
  }
}

template <class T, class P> using Tile = void (*)(Size, const Word<P>*, Size, Size, const Word<P>*, Size, T*);
template <class T, class P> constexpr Tile<T, P> TILES[] = {
    nullptr,       tile<T, P, 1>, tile<T, P, 2>, tile<T, P, 3>, tile<T, P, 4>, tile<T, P, 5>, tile<T, P, 6>,
#if !defined(CPU_CAPABILITY_AVX2)
    tile<T, P, 7>, tile<T, P, 8>,
#endif
};

// m rows in tiles of nearly equal height; done(row, left, right).
template <class T, class P, class Done>
inline void tiles(Size m, Size k, const Word<P>* a, Size row, Size step, const Word<P>* b, Size below, const Done& done) {
  alignas(64) T sums[ROWS * 2 * V<T>];
  const Size count = (m + ROWS - 1) / ROWS, least = m / count, higher = m % count;
  for (Size first = 0, q = 0; q < count; q++) {
    const Size height = least + (q < higher);
    TILES<T, P>[height](k, a + first * row, row, step, b, below, sums);
    for (Size i = 0; i < height; i++)
      done(first + i, Vec<T>::loadu(sums + 2 * i * V<T>), Vec<T>::loadu(sums + (2 * i + 1) * V<T>));
    first += height;
  }
}

// Panels of the (k, n) matrix whose element is w[n * across + k * along]: [panel][words of k][2 V], zeros beyond n. Gated:
// a panel has V columns of the first half of n and V of the second, so that both factors of a gate are at hand together.
template <class T, class P> struct Packed {
  Size n, k, deep, wide;  // deep: words of k
  bool gated;
  std::vector<Word<P>> own;
  const Word<P>* values;
  Packed(const T* w, Size n, Size k, Size across, Size along, bool gated = false) : n(n), k(k), gated(gated) {
    wide = gated ? V<T> : 2 * V<T>, deep = (k + P::PER - 1) / P::PER;
    const Size limit = gated ? n / 2 : n, panels = (limit + wide - 1) / wide;
    own.resize(panels * deep * 2 * V<T>);
    values = own.data();
    Word<P>* to = own.data();
    for (Size p = 0; p < panels; p++) {
      const Size width = std::min(wide, limit - p * wide);
      for (Size q = 0; q < k; q += P::PER, to += 2 * V<T>) {
        const auto at = [&](Size column) {
          const T* from = w + column * across + q * along;
          return P::word(from[0], q + 1 < k ? from[along] : T(0));
        };
        for (Size c = 0; c < width; c++) to[c] = at(p * wide + c);
        if (gated) for (Size c = 0; c < width; c++) to[V<T> + c] = at(n / 2 + p * wide + c);
      }
    }
  }
  // Of a weight (n, k), or of what pack_op made of one.
  Packed(const Tensor& w, Size n, Size k, bool gated = false)
      : Packed(w.dim() == 1 ? nullptr : w.const_data_ptr<T>(), w.dim() == 1 ? 0 : n, k, k, 1, gated) {
    this->n = n;
    if (w.dim() == 1) values = static_cast<const Word<P>*>(w.const_data_ptr());
  }
};

// `rows` pieces of m pixels, a(r) each (m, k), times packed weights; done(r, i, column, left, right).
template <class T, class P, class Rows, class Done>
inline void product(Size rows, Size m, const Rows& a, const Packed<T, P>& w, const Done& done) {
  const Size limit = w.gated ? w.n / 2 : w.n;
  const auto words = P::rows(rows, m, w.k, a);
  const Word<P>* panel = w.values;
  for (Size column = 0; column < limit; column += w.wide, panel += w.deep * 2 * V<T>)
    for (Size r = 0; r < rows; r++)
      tiles<T, P>(m, w.deep, words(r), w.deep, 1, panel, 2 * V<T>,
                  [&](Size i, const Vec<T>& left, const Vec<T>& right) { done(r, i, column, left, right); });
}

// Both vectors of a result of product, at p + column, column up to n.
template <class T, class S, class Value>
inline void both(S* p, Size column, Size n, const Value& value) {
  if (column + 2 * V<T> <= n) {
    store<T>(value(0, V<T>), p + column, V<T>);
    store<T>(value(V<T>, V<T>), p + column + V<T>, V<T>);
    return;
  }
  store<T>(value(0, std::min(V<T>, n - column)), p + column, n - column);
  if (column + V<T> < n) store<T>(value(V<T>, n - column - V<T>), p + column + V<T>, n - column - V<T>);
}

// to (m, k) = a (m, n) times packed weights, plus bias where there is one, plus `onto` where there is one.
template <class T, class P, class From, class S>
inline void multiply(Size m, const T* a, const Packed<T, P>& w, const T* bias, const From* onto, S* to) {
  product<T, P>(1, m, [&](Size) { return a; }, w, [&](Size, Size i, Size column, const Vec<T>& left, const Vec<T>& right) {
    both<T>(to + i * w.n, column, w.n, [&](Size at, Size n) {
      Vec<T> v = at ? right : left;
      if (bias) v = v + load<T>(bias + column + at, n);
      if (onto) v = v + load<T>(onto + i * w.n + column + at, n);
      return v;
    });
  });
}

// sums (m, n) += a^T (m, pixels) b (pixels, n): a weight's gradient.
template <class T, class P>
inline void outer(Size pixels, const T* a, Size m, const T* b, Size n, T* sums) {
  const Word<P>*left = P::template columns<0>(pixels, a, m), *right = P::template columns<1>(pixels, b, n);
  for (Size column = 0; column < n; column += 2 * V<T>)
    tiles<T, P>(m, (pixels + P::PER - 1) / P::PER, left, 1, m, right + column, n, [&](Size i, const Vec<T>& left, const Vec<T>& right) {
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

}  // namespace
