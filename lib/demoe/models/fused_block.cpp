// A NAFBlock on a CPU in two passes over cache-sized pieces of its map, and their backward passes.
//
// Maps are (B, H, W, C), contiguous, in float32 or float64, without gradients also in bfloat16. The block is folded
// (inference/fold.py): what is left of a norm is (x - mean) / deviation. One source for all instruction sets:
// at::vec::Vectorized is 4 to 16 numbers wide. The work is shared among threads in fixed pieces, so the same number of
// threads gives the same bytes.

#include <ATen/Dispatch.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <torch/library.h>

#include <tuple>
#include <type_traits>
#include <vector>

#include "fused_passes.h"

namespace {

// What Python calls.

// Calls run(T, P, S) with the types of numbers, products and maps: products in bfloat16 where `half` or maps are such.
template <class Run> void by_type(const Tensor& map, bool half, const Run& run) {
  if (map.scalar_type() == at::kBFloat16) return run(float(), Half(), BFloat16());
  if (half) return run(float(), Half(), float());
  AT_DISPATCH_FLOATING_TYPES(map.scalar_type(), "naf_block", [&] { run(scalar_t(), Exact<scalar_t>(), scalar_t()); });
}

// A weight (n, k, ...) as the operations below read it, in one dimension, for whoever uses it more than once.
Tensor pack_op(const Tensor& w, bool gated) {
  Tensor found;
  by_type(w, false, [&](auto t, auto p, auto) {
    using T = decltype(t);
    using P = decltype(p);
    const Tensor matrix = w.flatten(1).to(c10::CppTypeToScalarType<T>::value).contiguous();
    const Packed<T, P> packed(Weight<T>{data<T>(matrix), matrix.size(0), matrix.size(1)}, false, gated);
    found = packed.kept();
  });
  return found;
}

void check(const Tensor& x) {
  TORCH_CHECK(x.dim() == 4 && x.numel() && x.is_contiguous() && x.device().is_cpu(),
              "a map is (B, H, W, C), none of them 0, contiguous, on a CPU");
}

std::tuple<Tensor, Tensor> first_op(const Tensor& x, const Tensor& w1, const Tensor& b1, const Tensor& w2,
                                    const Tensor& b2, double eps, std::optional<Tensor> into) {
  check(x);
  Tensor gated = into.has_value() ? *into : at::empty_like(x), mean = at::empty({x.size(0), x.size(3)}, b1.options());
  check(gated);
  by_type(x, false, [&](auto t, auto p, auto s) {
    using T = decltype(t);
    using P = decltype(p);
    const Size C = x.size(3);
    const Packed<T, P> packed(w1, 2 * C, C);
    first<T, P, decltype(s)>(x, packed, b1, w2, b2, eps, gated, mean);
  });
  return {gated, mean};
}

std::tuple<Tensor, Tensor> second_op(const Tensor& x, const Tensor& gated, const Tensor& scale, const Tensor& w3,
                                     const Tensor& b3, const Tensor& w4, const Tensor& b4, const Tensor& w5,
                                     const Tensor& b5, double eps, bool in_place) {
  check(x), check(gated);
  Tensor out = in_place ? x : at::empty_like(x);  // where maps have no middle one, this is given in its place
  Tensor middle = in_place || x.scalar_type() == at::kBFloat16 ? out : at::empty_like(x);
  by_type(x, false, [&](auto t, auto p, auto s) {
    using T = decltype(t);
    using P = decltype(p);
    const Size C = x.size(3);
    const Packed<T, P> p3(w3, C, C), p4(w4, 2 * C, C, true), p5(w5, C, C);
    second<T, P, decltype(s)>(x, gated, scale, p3, b3, p4, b4, p5, b5, eps, middle, out);
  });
  return {middle, out};
}

// A block with parameters as they are trained, in the order of FusedBlock.apply in fused_block.py.

enum Parameter { NORM1, SHIFT1, CONV1, BIAS1, CONV2, BIAS2, SCA, SCA_BIAS, CONV3, BIAS3, NORM2, SHIFT2, CONV4, BIAS4,
                 CONV5, BIAS5, BETA, GAMMA, COUNT };

struct Folded {
  Tensor first, third, fourth, fifth;  // the 1x1 weights as matrices
  Tensor w2, ws, b1, b3, b4, b5, beta, gamma;  // biases folded
  std::vector<Tensor> p;
  explicit Folded(const std::vector<Tensor>& parameters) {
    TORCH_CHECK(parameters.size() == COUNT, "a block has ", int(COUNT), " parameters");
    for (const Tensor& one : parameters) p.push_back(one.contiguous());
    const auto matrix = [&](Parameter one) { return p[one].flatten(1).contiguous(); };
    first = matrix(CONV1), w2 = matrix(CONV2), ws = matrix(SCA), third = matrix(CONV3), fourth = matrix(CONV4);
    fifth = matrix(CONV5), beta = p[BETA].flatten(), gamma = p[GAMMA].flatten();
    b1 = p[BIAS1].addmv(first, p[SHIFT1]), b3 = p[BIAS3] * beta;
    b4 = p[BIAS4].addmv(fourth, p[SHIFT2]), b5 = p[BIAS5] * gamma;
  }
  template <class T> Weight<T> weight(const Tensor& one, const Tensor* of_rows, const Tensor* of_columns) const {
    return {data<T>(one), one.size(0), one.size(1), of_rows ? data<T>(*of_rows) : nullptr,
            of_columns ? data<T>(*of_columns) : nullptr};
  }
  template <class T> Weight<T> w1() const { return weight<T>(first, nullptr, &p[NORM1]); }
  template <class T> Weight<T> w3() const { return weight<T>(third, &beta, nullptr); }
  template <class T> Weight<T> w4() const { return weight<T>(fourth, nullptr, &p[NORM2]); }
  template <class T> Weight<T> w5() const { return weight<T>(fifth, &gamma, nullptr); }
};

// The output, and what the backward pass needs beside the input: gated map, its means, factors, the map in the middle.
std::vector<Tensor> block_op(const Tensor& x, double eps1, double eps2, const std::vector<Tensor>& parameters,
                             bool half) {
  TORCH_CHECK(x.scalar_type() != at::kBFloat16, "a block that is trained has maps in float32 or float64");
  check(x);
  const Folded f(parameters);
  const std::vector<Tensor>& p = f.p;
  TORCH_CHECK(x.size(3) == f.first.size(1), "a map of ", x.size(3), " channels for a block of ", f.first.size(1));
  Tensor gated = at::empty_like(x), middle = at::empty_like(x), out = at::empty_like(x), scale;
  Tensor mean = at::empty({x.size(0), x.size(3)}, x.options());
  by_type(x, half, [&](auto t, auto type, auto) {
    using T = decltype(t);
    using P = decltype(type);
    first<T, P, T>(x, Packed<T, P>(f.w1<T>()), f.b1, f.w2, p[BIAS2], eps1, gated, mean);
    scale = mean.mm(f.ws.t()) + p[SCA_BIAS];
    const Packed<T, P> w3(f.w3<T>()), w4(f.w4<T>(), false, true), w5(f.w5<T>());
    second<T, P, T>(x, gated, scale, w3, f.b3, w4, f.b4, w5, f.b5, eps2, middle, out);
  });
  return {out, gated, mean, scale, middle};
}

// The gradients of x and of the parameters, in their shapes.
std::vector<Tensor> block_back_op(const Tensor& grad, const Tensor& x, const Tensor& gated, const Tensor& mean,
                                  const Tensor& scale, const Tensor& middle, double eps1, double eps2,
                                  const std::vector<Tensor>& parameters, bool half) {
  check(grad), check(middle), check(gated), check(x);
  const Folded f(parameters);
  const std::vector<Tensor>& p = f.p;
  const Size C = x.size(3);
  Tensor of_middle = at::empty_like(grad), of_scaled = at::empty_like(grad), of_x = at::empty_like(x);
  std::vector<Tensor> of(COUNT);
  by_type(grad, half, [&](auto t, auto type, auto) {
    using T = decltype(t);
    using P = decltype(type);
    const Gradients<T> b = second_back<T, P>(grad, middle, gated, scale, f.w3<T>(), f.w4<T>(), f.b4, f.w5<T>(), eps2,
                                             of_middle, of_scaled);
    const Tensor of_scale = b.sum(6).view({-1, C}), of_mean = of_scale.mm(f.ws) / double(x.size(1) * x.size(2));
    const Gradients<T> a = first_back<T, P>(x, of_middle, of_scaled, scale, of_mean, f.w1<T>(), f.b1, f.w2, p[BIAS2],
                                            eps1, of_x);
    const Tensor b3 = b.sum(1), b5 = b.sum(5);
    of[BIAS1] = a.sum(1), of[BIAS2] = a.sum(3), of[BIAS3] = b3 * f.beta, of[BIAS4] = b.sum(3), of[BIAS5] = b5 * f.gamma;
    std::tie(of[CONV1], of[NORM1], of[SHIFT1]) = behind_norm<T>(f.first, p[NORM1], p[SHIFT1], a, 0, of[BIAS1]);
    std::tie(of[CONV4], of[NORM2], of[SHIFT2]) = behind_norm<T>(f.fourth, p[NORM2], p[SHIFT2], b, 2, of[BIAS4]);
    std::tie(of[CONV3], of[BETA]) = with_factors<T>(f.third, f.beta, b, 0);
    std::tie(of[CONV5], of[GAMMA]) = with_factors<T>(f.fifth, f.gamma, b, 4);
    of[BETA].addcmul_(b3, p[BIAS3]), of[GAMMA].addcmul_(b5, p[BIAS5]);
    of[CONV2] = a.sum(2).view({9, -1}).t().contiguous();
    of[SCA] = of_scale.t().mm(mean), of[SCA_BIAS] = of_scale.sum(0);
  });
  std::vector<Tensor> found{of_x};
  for (int i = 0; i < COUNT; i++) found.push_back(of[i].view(p[i].sizes()));
  return found;
}

}  // namespace

TORCH_LIBRARY(demoe, library) {
  library.def("bfloat16() -> bool", [] { return bool(DEMOE_BFLOAT16); });
  library.def("first(Tensor x, Tensor w1, Tensor b1, Tensor w2, Tensor b2, float eps, Tensor(a!)? into=None) -> (Tensor(a!), Tensor)");
  library.def("second(Tensor x, Tensor gated, Tensor scale, Tensor w3, Tensor b3, Tensor w4, Tensor b4, Tensor w5, Tensor b5, float eps, bool in_place=False) -> (Tensor, Tensor)");
  library.def("pack(Tensor weight, bool gated=False) -> Tensor");
  library.def("block(Tensor x, float eps1, float eps2, Tensor[] parameters, bool half=False) -> Tensor[]");
  library.def("block_back(Tensor grad, Tensor x, Tensor gated, Tensor mean, Tensor scale, Tensor middle, float eps1, float eps2, Tensor[] parameters, bool half=False) -> Tensor[]");
  library.impl("first", c10::DispatchKey::CPU, first_op);
  library.impl("second", c10::DispatchKey::CPU, second_op);
  library.impl("pack", c10::DispatchKey::CPU, pack_op);
  library.impl("block", c10::DispatchKey::CPU, block_op);
  library.impl("block_back", c10::DispatchKey::CPU, block_back_op);
}
