// The gradients of a block's parameters: sums of each thread, and what folded weights say of those that are trained
// (fused_block.cpp).

#pragma once

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros.h>

#include <tuple>

#include "fused_rows.h"

namespace {

// The gradients of a thread's share, one after the other in one tensor of the whole.
template <class T> struct Gradients {
  std::vector<Size> starts;
  Tensor all;
  Gradients(Size threads, const std::vector<Size>& sizes, const Tensor& like) : starts{0} {
    for (Size n : sizes) starts.push_back(starts.back() + n);
    all = at::zeros({threads, starts.back()}, like.options());
  }
  T* of(Size thread, Size which) { return all.mutable_data_ptr<T>() + thread * starts.back() + starts[which]; }
  Vec<T> load(Size which, Size at, Size n) const {  // n numbers from `at` on, of all threads
    const T* p = all.const_data_ptr<T>() + starts[which] + at;
    Vec<T> total = ::load<T>(p, n);
    for (Size thread = 1; thread < all.size(0); thread++) total = total + ::load<T>(p + thread * starts.back(), n);
    return total;
  }
  Tensor sum(Size which) const { return all.slice(1, starts[which], starts[which + 1]).sum(0); }
};

// From the gradient of a folded weight (rows, columns), `which` of `sums`, those of the weight, and of what was folded
// into it. A norm in front of it: of_bias that of the folded bias. Returns weight, norm's weight, norm's bias.
template <class T>
std::tuple<Tensor, Tensor, Tensor> behind_norm(const Tensor& weight, const Tensor& scale, const Tensor& shift,
                                               const Gradients<T>& sums, Size which, const Tensor& of_bias) {
  const Size rows = weight.size(0), columns = weight.size(1);
  Tensor found = at::empty_like(weight);
  const Shares shares(rows);
  Tensor parts = at::zeros({shares.threads, 2, columns + SLACK}, weight.options());
  const T *w = data<T>(weight), *by = data<T>(scale), *plus = data<T>(shift), *bias = data<T>(of_bias);
  shares.run([&](Size thread, Size from, Size to) {
    T *of_scale = parts.mutable_data_ptr<T>() + 2 * thread * (columns + SLACK), *of_shift = of_scale + columns + SLACK;
    for (Size i = from; i < to; i++) {
      const Vec<T> here(bias[i]);
      for (Size j = 0; j < columns; j += V<T>) {
        const Size n = columns - j, at = i * columns + j;
        const Vec<T> g = sums.load(which, at, n), old = load<T>(w + at, n), more = here * load<T>(plus + j, n);
        store<T>(at::vec::fmadd(g, load<T>(by + j, n), more), found.mutable_data_ptr<T>() + at, n);
        at::vec::fmadd(g, old, Vec<T>::loadu(of_scale + j)).store(of_scale + j);
        at::vec::fmadd(here, old, Vec<T>::loadu(of_shift + j)).store(of_shift + j);
      }
    }
  });
  const Tensor both = parts.sum(0);
  return {found, both[0].slice(0, 0, columns), both[1].slice(0, 0, columns)};
}

// Likewise for factors of the results, (rows). Returns weight, factors.
template <class T>
std::tuple<Tensor, Tensor> with_factors(const Tensor& weight, const Tensor& factors, const Gradients<T>& sums,
                                        Size which) {
  const Size rows = weight.size(0), columns = weight.size(1);
  Tensor found = at::empty_like(weight), of_factors = at::empty({rows}, weight.options());
  const T *w = data<T>(weight), *by = data<T>(factors);
  Shares(rows).run([&](Size, Size from, Size to) {
    for (Size i = from; i < to; i++) {
      Vec<T> total(T(0));
      for (Size j = 0; j < columns; j += V<T>) {
        const Size n = columns - j, at = i * columns + j;
        const Vec<T> g = sums.load(which, at, n);
        store<T>(g * Vec<T>(by[i]), found.mutable_data_ptr<T>() + at, n);
        total = at::vec::fmadd(g, load<T>(w + at, n), total);
      }
      of_factors.mutable_data_ptr<T>()[i] = sum<T>(total);
    }
  });
  return {found, of_factors};
}

}  // namespace
