// A NAFBlock on a CPU in two passes over cache-sized pieces of its map, and their backward passes.
//
// Maps are (B, H, W, C), contiguous, in float32 or float64, without gradients also in bfloat16. The block is folded (inference/fold.py): what is left of a
// norm is (x - mean) / deviation. One source for all instruction sets: at::vec::Vectorized is 4 to 16 numbers wide.
// The work is shared among threads in fixed pieces, so the same number of threads gives the same bytes.

#include <ATen/Dispatch.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <torch/library.h>

#include <tuple>
#include <vector>

#include "fused_passes.h"

namespace {

// What Python calls.

// Calls run(T, P, S) with the types of numbers, products and maps: bfloat16 products where `half` or where maps are such.
template <class Run> void by_type(const Tensor& map, bool half, const Run& run) {
  if (map.scalar_type() == at::kBFloat16) return run(float(), Half(), BFloat16());
  if (half) return run(float(), Half(), float());
  AT_DISPATCH_FLOATING_TYPES(map.scalar_type(), "naf_block", [&] { run(scalar_t(), Exact<scalar_t>(), scalar_t()); });
}

// A weight (n, k, ...) as the operations below read it, in one dimension, for whoever uses it more than once.
Tensor pack_op(const Tensor& w, bool gated, bool half) {
  Tensor found;
  by_type(w, half, [&](auto t, auto p, auto) {
    using T = decltype(t);
    using P = decltype(p);
    const Tensor matrix = w.flatten(1).to(c10::CppTypeToScalarType<T>::value).contiguous();
    const Packed<T, P> packed(matrix, matrix.size(0), matrix.size(1), gated);
    found = at::empty({Size(packed.own.size())}, std::is_same_v<T, double> ? at::kDouble : at::kFloat);
    std::copy(packed.own.begin(), packed.own.end(), static_cast<Word<P>*>(found.mutable_data_ptr()));
  });
  return found;
}

void check(const Tensor& x) {
  TORCH_CHECK(x.dim() == 4 && x.is_contiguous() && x.device().is_cpu(), "a map is (B, H, W, C), contiguous, on a CPU");
}

std::tuple<Tensor, Tensor> first_op(const Tensor& x, const Tensor& w1, const Tensor& b1, const Tensor& w2,
                                    const Tensor& b2, double eps, std::optional<Tensor> into, bool half) {
  check(x);
  Tensor gated = into.has_value() ? *into : at::empty_like(x), mean = at::empty({x.size(0), x.size(3)}, b1.options());
  check(gated);
  by_type(x, half, [&](auto t, auto p, auto s) {
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
                                     const Tensor& b5, double eps, bool in_place, bool half) {
  check(x), check(gated);
  Tensor middle = in_place ? x : at::empty_like(x), out = in_place ? x : at::empty_like(x);
  by_type(x, half, [&](auto t, auto p, auto s) {
    using T = decltype(t);
    using P = decltype(p);
    const Size C = x.size(3);
    const Packed<T, P> p3(w3, C, C), p4(w4, 2 * C, C, true), p5(w5, C, C);
    second<T, P, decltype(s)>(x, gated, scale, p3, b3, p4, b4, p5, b5, eps, middle, out);
  });
  return {middle, out};
}

std::vector<Tensor> second_back_op(const Tensor& grad, const Tensor& middle, const Tensor& gated, const Tensor& scale,
                                   const Tensor& w3, const Tensor& w4, const Tensor& b4, const Tensor& w5, double eps,
                                   bool half) {
  check(grad), check(middle), check(gated);
  Tensor of_middle = at::empty_like(grad), of_scaled = at::empty_like(grad);
  std::vector<Tensor> found;
  by_type(grad, half, [&](auto t, auto p, auto) {
    found = second_back<decltype(t), decltype(p)>(grad, middle, gated, scale, w3, w4, b4, w5, eps, of_middle, of_scaled);
  });
  found.insert(found.begin(), {of_middle, of_scaled});
  return found;
}

std::vector<Tensor> first_back_op(const Tensor& x, const Tensor& of_middle, const Tensor& of_scaled, const Tensor& scale,
                                  const Tensor& of_mean, const Tensor& w1, const Tensor& b1, const Tensor& w2,
                                  const Tensor& b2, double eps, bool half) {
  check(x), check(of_middle), check(of_scaled);
  Tensor of_x = at::empty_like(x);
  std::vector<Tensor> found;
  by_type(x, half, [&](auto t, auto p, auto) {
    found = first_back<decltype(t), decltype(p)>(x, of_middle, of_scaled, scale, of_mean, w1, b1, w2, b2, eps, of_x);
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
std::vector<Tensor> block_op(const Tensor& x, double eps1, double eps2, const std::vector<Tensor>& parameters, bool half) {
  TORCH_CHECK(x.scalar_type() != at::kBFloat16, "a block that is trained has maps in float32 or float64");
  const Folded f(parameters);
  const auto [gated, mean] = first_op(x, f.w1, f.b1, f.w2, parameters[BIAS2], eps1, std::nullopt, half);
  const Tensor scale = mean.mm(f.ws.t()) + parameters[SCA_BIAS];
  const auto [middle, out] = second_op(x, gated, scale, f.w3, f.b3, f.w4, f.b4, f.w5, f.b5, eps2, false, half);
  return {out, gated, mean, scale, middle};
}

// The gradients of x and of the parameters, in their shapes.
std::vector<Tensor> block_back_op(const Tensor& grad, const Tensor& x, const Tensor& gated, const Tensor& mean,
                                  const Tensor& scale, const Tensor& middle, double eps1, double eps2,
                                  const std::vector<Tensor>& p, bool half) {
  const Folded f(p);
  const Size C = x.size(3);
  const std::vector<Tensor> b = second_back_op(grad, middle, gated, scale, f.w3, f.w4, f.b4, f.w5, eps2, half);
  const Tensor of_scale = b[8].view({-1, C}), of_mean = of_scale.mm(f.ws) / double(x.size(1) * x.size(2));
  const std::vector<Tensor> a = first_back_op(x, b[0], b[1], scale, of_mean, f.w1, f.b1, f.w2, p[BIAS2], eps1, half);
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
  library.def("bfloat16() -> bool", [] { return bool(DEMOE_BFLOAT16); });
  library.def("first(Tensor x, Tensor w1, Tensor b1, Tensor w2, Tensor b2, float eps, Tensor(a!)? into=None, bool half=False) -> (Tensor(a!), Tensor)");
  library.def("second(Tensor x, Tensor gated, Tensor scale, Tensor w3, Tensor b3, Tensor w4, Tensor b4, Tensor w5, Tensor b5, float eps, bool in_place=False, bool half=False) -> (Tensor, Tensor)");
  library.def("pack(Tensor weight, bool gated=False, bool half=False) -> Tensor");
  library.def("block(Tensor x, float eps1, float eps2, Tensor[] parameters, bool half=False) -> Tensor[]");
  library.def("block_back(Tensor grad, Tensor x, Tensor gated, Tensor mean, Tensor scale, Tensor middle, float eps1, float eps2, Tensor[] parameters, bool half=False) -> Tensor[]");
  library.impl("first", c10::DispatchKey::CPU, first_op);
  library.impl("second", c10::DispatchKey::CPU, second_op);
  library.impl("pack", c10::DispatchKey::CPU, pack_op);
  library.impl("block", c10::DispatchKey::CPU, block_op);
  library.impl("block_back", c10::DispatchKey::CPU, block_back_op);
}
