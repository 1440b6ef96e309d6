// Matrix products in registers: what the fused block spends most of its time on (fused_block.cpp).

#pragma once

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/cpu/vec/functional.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <cmath>
#include <type_traits>
#include <utility>

#include "fused_numbers.h"

namespace {

using at::Tensor;

#if defined(CPU_CAPABILITY_AVX2)
constexpr Size ROWS = 6;  // of a register tile: 6 x 2 sums, 2 weights and a factor fill 16 registers
#else
constexpr Size ROWS = 8;  // of 32 registers
#endif
constexpr Size PIECE = 1 << 14;   // numbers of a piece of a map with C channels: 64 KiB, of a cache of 512
constexpr Size LINES = 16;        // of a weight that are packed at once
constexpr Size FEWEST = 48;       // pixels at once, so that weights that are read from afar are used often

template <class T> inline T sum(const Vec<T>& v) {
  return at::vec::vec_reduce_all<T>([](const Vec<T>& a, const Vec<T>& b) { return a + b; }, v);
}

// Products. Rows of A, broadcast, times panels of 2 V columns of B, both in the words of P (fused_numbers.h).

// Where the rows of a result go, `apart` numbers from each other: plus a bias and plus the rows of `onto`, or none.
template <class T> struct Place {
  T* to;
  Size apart;
  const T *bias = nullptr, *onto = nullptr;
};

// Calls with 0 ... n - 1, known when it is compiled: what they index can stay in registers.
template <Size... I, class Do> C10_ALWAYS_INLINE void repeat(std::integer_sequence<Size, I...>, const Do& call) {
  (call(I), ...);
}

// M rows of A times one panel, k words long: 2 V numbers a row, or V of a Narrow panel. Not inlined: registers are for
// the sums, and it is compiled once a height.
template <class T, class P, bool Narrow, Size M>
C10_NOINLINE void tile(Size k, const Word<P>* a, Size row, Size step, const Word<P>* b, Size below, Place<T> place) {
  constexpr Size R = Narrow ? 0 : V<T>;
  constexpr std::make_integer_sequence<Size, M> rows{};
  Register<T> left[M], right[M];
  Vec<T> one(T(0)), two(T(0));
  if (place.bias) one = Vec<T>::loadu(place.bias), two = Vec<T>::loadu(place.bias + R);
  repeat(rows, [&](Size i) { left[i] = one, right[i] = two; });
  for (Size q = 0; q < k; q++, a += step, b += below) {
    const auto b0 = P::words(b), b1 = P::words(b + R);
    repeat(rows, [&](Size i) {
      const auto factor = P::spread(a + i * row);
      left[i] = P::add(factor, b0, Vec<T>(left[i]));
      if (!Narrow) right[i] = P::add(factor, b1, Vec<T>(right[i]));
    });
  }
  if (place.onto) repeat(rows, [&](Size i) {
    const T* onto = place.onto + i * place.apart;
    left[i] = Vec<T>(left[i]) + Vec<T>::loadu(onto);
    if (!Narrow) right[i] = Vec<T>(right[i]) + Vec<T>::loadu(onto + R);
  });
  repeat(rows, [&](Size i) {
    Vec<T>(left[i]).store(place.to + i * place.apart);
    if (!Narrow) Vec<T>(right[i]).store(place.to + i * place.apart + R);
  });
}

template <class T, class P> using Tile = void (*)(Size, const Word<P>*, Size, Size, const Word<P>*, Size, Place<T>);
template <class T, class P, bool N> constexpr Tile<T, P> TILES[] = {
    nullptr,          tile<T, P, N, 1>, tile<T, P, N, 2>, tile<T, P, N, 3>, tile<T, P, N, 4>, tile<T, P, N, 5>,
    tile<T, P, N, 6>,
#if !defined(CPU_CAPABILITY_AVX2)
    tile<T, P, N, 7>, tile<T, P, N, 8>,
#endif
};

// m rows in tiles of nearly equal height; each(first row, its height, the tile of these).
template <class T, class P, class Each> inline void tiles(Size m, bool narrow, const Each& each) {
  const Size count = (m + ROWS - 1) / ROWS, least = m / count, higher = m % count;
  for (Size first = 0, q = 0; q < count; q++) {
    const Size height = least + (q < higher);
    each(first, height, (narrow ? TILES<T, P, true> : TILES<T, P, false>)[height]);
    first += height;
  }
}

// The same, given away: done(row, left, right). Of a narrow panel the right half says nothing.
template <class T, class P, class Done>
inline void given(Size m, Size k, const Word<P>* a, Size row, Size step, const Word<P>* b, Size below, bool narrow,
                  const Done& done) {
  alignas(64) T sums[ROWS * 2 * V<T>];
  tiles<T, P>(m, narrow, [&](Size first, Size height, Tile<T, P> run) {
    run(k, a + first * row, row, step, b, below, {sums, 2 * V<T>});
    for (Size i = 0; i < height; i++)
      done(first + i, Vec<T>::loadu(sums + 2 * i * V<T>), Vec<T>::loadu(sums + (2 * i + 1) * V<T>));
  });
}

// Columns `column` ... of to (m, n) = the product, plus bias (n), plus onto (m, n), or none.
template <class T, class P, class From, class S>
inline void panel(Size m, Size k, const Word<P>* a, Size row, Size step, const Word<P>* b, Size below, Size column,
                  Size n, const T* bias, const From* onto, S* to) {
  const Size rest = n - column;
  if constexpr (std::is_same_v<S, T> && std::is_same_v<From, T>)
    if (rest >= 2 * V<T> || rest == V<T>)
      return tiles<T, P>(m, rest == V<T>, [&](Size first, Size, Tile<T, P> run) {
        const Size at = first * n + column;
        run(k, a + first * row, row, step, b, below,
            {to + at, n, bias ? bias + column : nullptr, onto ? onto + at : nullptr});
      });
  given<T, P>(m, k, a, row, step, b, below, rest <= V<T>, [&](Size i, const Vec<T>& left, const Vec<T>& right) {
    for (Size at = 0; at < std::min(rest, 2 * V<T>); at += V<T>) {
      Vec<T> v = at ? right : left;
      if (bias) v = v + load<T>(bias + column + at, rest - at);
      if (onto) v = v + load<T>(onto + i * n + column + at, rest - at);
      store<T>(v, to + i * n + column + at, rest - at);
    }
  });
}

// A weight (rows, columns), and factors of its rows and of its columns that are folded into it, or none.
template <class T> struct Weight {
  const T* values;
  Size rows, columns;
  const T *of_rows = nullptr, *of_columns = nullptr;
};

// Panels of a weight, whose k columns are summed over and whose n rows are results, or turned, the other way round:
// [panel][words of k][2 V], zeros beyond n. Gated: a panel has V results of the first half of n and V of the second, so
// that both factors of a gate are at hand together.
template <class T, class P> struct Packed {
  Size n, k, deep, wide;  // deep: words of k
  bool gated;
  std::vector<Word<P>> own;
  const Word<P>* values;
  explicit Packed(const Weight<T>& w, bool turned = false, bool gated = false)
      : n(turned ? w.columns : w.rows), k(turned ? w.rows : w.columns), gated(gated) {
    wide = gated ? V<T> : 2 * V<T>, deep = (k + P::PER - 1) / P::PER;
    const Size limit = gated ? n / 2 : n, panels = w.values ? (limit + wide - 1) / wide : 0;
    const T *along = turned ? w.of_rows : w.of_columns, *across = turned ? w.of_columns : w.of_rows;
    own.resize(panels * deep * 2 * V<T>);
    values = own.data();
    at::parallel_for(0, panels, std::max<Size>(1, (1 << 14) / (2 * V<T> * k)), [&](Size from, Size to) {
      for (Size p = from; p < to; p++)
        for (Size q = 0; q < k; q += LINES) {
          alignas(64) T lines[LINES * 2 * V<T>] = {};
          const Size count = std::min(LINES, k - q);
          for (Size side = 0; side < 2; side++) {
            const Size start = p * wide + side * (gated ? n / 2 : V<T>), end = gated && !side ? n / 2 : n;
            const Size some = std::min(V<T>, end - start);
            if (some <= 0) continue;
            T* here = lines + side * V<T>;
            if (!turned) at::vec::transpose_mxn<T>(w.values + start * k + q, k, here, 2 * V<T>, some, count);
            const Vec<T> factors = across ? load<T>(across + start, some) : Vec<T>(T(1));
            for (Size i = 0; i < count; i++) {
              T* line = here + i * 2 * V<T>;
              Vec<T> v = turned ? load<T>(w.values + (q + i) * n + start, some) : Vec<T>::loadu(line);
              if (along) v = v * Vec<T>(along[q + i]);
              (across ? v * factors : v).store(line);
            }
          }
          P::lines(count, lines, 2 * V<T>, own.data() + (p * deep + q / P::PER) * 2 * V<T>);
        }
    });
  }
  // Of a weight (n, k), or of one that was kept.
  Packed(const Tensor& w, Size n, Size k, bool gated = false)
      : Packed(Weight<T>{w.dim() == 1 ? nullptr : w.const_data_ptr<T>(), n, k}, false, gated) {
    if (w.dim() != 1) return;
    const Size size = ((gated ? n / 2 : n) + wide - 1) / wide * deep * 2 * V<T>;
    TORCH_CHECK(w.scalar_type() == TYPE && w.is_contiguous() && w.numel() == size + 1 &&
                    w.const_data_ptr<T>()[size] == tag(), "this weight was packed for another product");
    values = static_cast<const Word<P>*>(w.const_data_ptr());
  }
  // For whoever uses it more than once: the words as numbers, and behind them what product they are for.
  Tensor kept() const {
    const Tensor found = at::empty({Size(own.size()) + 1}, TYPE);
    std::copy(own.begin(), own.end(), static_cast<Word<P>*>(found.mutable_data_ptr()));
    found.mutable_data_ptr<T>()[own.size()] = tag();
    return found;
  }

 private:
  static constexpr auto TYPE = c10::CppTypeToScalarType<T>::value;
  T tag() const { return T(1 + gated + 2 * !std::is_same_v<P, Exact<T>>); }
};

// to (m, n) = a (m, k) times packed weights, plus bias, plus onto (m, n), or none.
template <class T, class P, class From, class S>
inline void multiply(Size m, const T* a, const Packed<T, P>& w, const T* bias, const From* onto, S* to) {
  const Word<P>*words = P::rows(m, w.k, a), *values = w.values;
  for (Size column = 0; column < w.n; column += w.wide, values += w.deep * 2 * V<T>)
    panel<T, P>(m, w.deep, words, w.deep, 1, values, 2 * V<T>, column, w.n, bias, onto, to);
}

// The same of gated weights, plus bias (n): done(row, column, of the first half of n, of the second).
template <class T, class P, class Done>
inline void multiply_gated(Size m, const T* a, const Packed<T, P>& w, const T* bias, const Done& done) {
  const Word<P>*words = P::rows(m, w.k, a), *values = w.values;
  const Size half = w.n / 2;
  for (Size column = 0; column < half; column += w.wide, values += w.deep * 2 * V<T>) {
    const Vec<T> one = load<T>(bias + column, half - column), two = load<T>(bias + half + column, half - column);
    given<T, P>(m, w.deep, words, w.deep, 1, values, 2 * V<T>, false,
                [&](Size i, const Vec<T>& left, const Vec<T>& right) { done(i, column, left + one, right + two); });
  }
}

// sums (m, n) += a^T (m, pixels) b (pixels, n): a weight's gradient.
template <class T, class P>
inline void outer(Size pixels, const T* a, Size m, const T* b, Size n, T* sums) {
  const Word<P>*left = P::template columns<0>(pixels, a, m), *right = P::template columns<1>(pixels, b, n);
  for (Size column = 0; column < n; column += 2 * V<T>)
    panel<T, P, T, T>(m, (pixels + P::PER - 1) / P::PER, left, 1, m, right + column, n, column, n, nullptr, sums, sums);
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
