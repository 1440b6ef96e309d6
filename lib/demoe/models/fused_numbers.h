// Numbers as they lie in memory and as they are multiplied (fused_block.cpp): maps in float32, float64 or bfloat16, and
// products of the numbers themselves (Exact) or of these rounded to bfloat16 and summed in float32 (Half).

#pragma once

#include <ATen/cpu/vec/vec.h>
#include <c10/util/BFloat16.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>
#if defined(CPU_CAPABILITY_AVX512) && defined(__AVX512BF16__)
#define DEMOE_BFLOAT16 1
#include <immintrin.h>
#else
#define DEMOE_BFLOAT16 0
#endif

namespace {

using Size = int64_t;
using c10::BFloat16;
template <class T> using Vec = at::vec::Vectorized<T>;
template <class T> constexpr Size V = Vec<T>::size();
// A vector as the processor has it. Of Vectorized, whose constructor writes zeros, an array is left in memory by GCC.
template <class T> struct Plain { using Type = Vec<T>; };
#if defined(CPU_CAPABILITY_AVX512)
template <> struct Plain<float> { using Type = __m512; };
template <> struct Plain<double> { using Type = __m512d; };
#elif defined(CPU_CAPABILITY_AVX2)
template <> struct Plain<float> { using Type = __m256; };
template <> struct Plain<double> { using Type = __m256d; };
#endif
template <class T> using Register = typename Plain<T>::Type;
constexpr Size SLACK = 64;  // numbers behind each buffer, which whole vectors may read beyond a row's end

template <class T> std::vector<T> buffer(Size n) { return std::vector<T>(n + SLACK); }  // zeros

// n numbers of a vector, or all of it; zeros behind them.
template <class T> inline Vec<T> load(const T* p, Size n) {
  return n >= V<T> ? Vec<T>::loadu(p) : Vec<T>::loadu(p, n);
}
template <class T> inline void store(const Vec<T>& v, T* p, Size n) {
  if (n >= V<T>) v.store(p); else v.store(p, n);
}

// Words of products: a number, or two neighbours along the sum. `add` multiplies vectors of words and adds.
template <class P> using Word = typename P::Word;

template <class T> struct Exact {
  using Word = T;
  static constexpr Size PER = 1;  // numbers of a word
  static Vec<T> words(const T* p) { return Vec<T>::loadu(p); }
  static Vec<T> spread(const T* p) { return Vec<T>(*p); }
  static Vec<T> add(const Vec<T>& a, const Vec<T>& b, const Vec<T>& sum) { return at::vec::fmadd(a, b, sum); }
  // Rows (m, k), each word along k; the columns of (pixels, n), each word along the pixels.
  static const T* rows(Size, Size, const T* a) { return a; }
  template <int Which> static const T* columns(Size, const T* a, Size) { return a; }
  // Lines (count, n), each word along the lines.
  static void lines(Size count, const T* a, Size n, T* to) { std::copy_n(a, count * n, to); }
};

#if DEMOE_BFLOAT16

inline __mmask16 first_of(Size n) { return n >= 16 ? 0xffff : (1u << n) - 1; }

template <class T> inline Vec<T> load(const BFloat16* p, Size n) {
  const __m256i bits = _mm256_maskz_loadu_epi16(first_of(n), p);
  return Vec<T>(_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16)));
}
template <class T> inline void store(const Vec<T>& v, BFloat16* p, Size n) {
  _mm256_mask_storeu_epi16(p, first_of(n), (__m256i)_mm512_cvtneps_pbh(v));
}

struct Half {
  struct Word {
    uint16_t first, second;
  };
  static constexpr Size PER = 2;
  static __m512i words(const Word* p) { return _mm512_loadu_si512(p); }
  static __m512i spread(const Word* p) {
    int bits;
    std::memcpy(&bits, p, sizeof bits);
    return _mm512_set1_epi32(bits);
  }
  static Vec<float> add(__m512i a, __m512i b, const Vec<float>& sum) {
    return Vec<float>(_mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b));
  }
  // A row of k numbers.
  static void row(const float* from, Size k, Word* to) {
    const Vec<float> none(0.f);
    for (Size q = 0; q < k; q += 32) {
      const Vec<float> low = load<float>(from + q, k - q);
      const Vec<float> high = k - q > 16 ? load<float>(from + q + 16, k - q - 16) : none;
      _mm512_mask_storeu_epi32(to + q / 2, first_of((k - q + 1) / 2), (__m512i)_mm512_cvtne2ps_pbh(high, low));
    }
  }
  // Of two pixels the numbers in turns.
  static void pair(const float* above, const float* below, Size n, Word* to) {
    const Vec<float> none(0.f);
    const __m512i turns = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6,
                                           21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    for (Size j = 0; j < n; j += 16) {
      const Vec<float> low = load<float>(above + j, n - j), high = below ? load<float>(below + j, n - j) : none;
      const __m512i both = _mm512_permutexvar_epi16(turns, (__m512i)_mm512_cvtne2ps_pbh(high, low));
      _mm512_mask_storeu_epi32(to + j, first_of(n - j), both);
    }
  }
#else

template <class T> inline Vec<T> load(const BFloat16* p, Size n) {
  T values[V<T>] = {};
  for (Size i = 0; i < std::min(n, V<T>); i++) values[i] = p[i];
  return Vec<T>::loadu(values);
}
template <class T> inline void store(const Vec<T>& v, BFloat16* p, Size n) {
  T values[V<T>];
  v.store(values);
  for (Size i = 0; i < std::min(n, V<T>); i++) p[i] = BFloat16(values[i]);
}

// Without such instructions: the same values but for numbers below 1e-38, and no faster than Exact.
struct Half {
  struct Word {
    float value;
  };
  static constexpr Size PER = 1;
  static Vec<float> words(const Word* p) { return Vec<float>::loadu(&p->value); }
  static Vec<float> spread(const Word* p) { return Vec<float>(p->value); }
  static Vec<float> add(const Vec<float>& a, const Vec<float>& b, const Vec<float>& sum) {
    return at::vec::fmadd(a, b, sum);
  }
  static void row(const float* from, Size k, Word* to) {
    for (Size q = 0; q < k; q++) to[q].value = BFloat16(from[q]);
  }
#endif
  template <int Which> static Word* scratch(Size n) {
    static thread_local std::vector<Word> place;
    if (Size(place.size()) < n + SLACK) place.resize(n + SLACK);
    return place.data();
  }
  static const Word* rows(Size m, Size k, const float* a) {
    const Size deep = (k + PER - 1) / PER;
    Word* to = scratch<0>(m * deep);
    if (k % PER == 0) row(a, m * k, to);
    else for (Size i = 0; i < m; i++) row(a + i * k, k, to + i * deep);
    return to;
  }
  template <int Which> static const Word* columns(Size pixels, const float* a, Size n) {
    Word* to = scratch<1 + Which>((pixels + PER - 1) / PER * n);
    lines(pixels, a, n, to);
    return to;
  }
  static void lines(Size count, const float* a, Size n, Word* to) {
#if DEMOE_BFLOAT16
    for (Size i = 0; i < count; i += 2) pair(a + i * n, i + 1 < count ? a + (i + 1) * n : nullptr, n, to + i / 2 * n);
#else
    row(a, count * n, to);
#endif
  }
};

}  // namespace
