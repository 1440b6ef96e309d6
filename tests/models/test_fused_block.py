"""The fused block: values and gradients of the block operation by operation, and what happens without a compiler."""

import hashlib
import platform
import shutil
import subprocess
import sys
import sysconfig
import warnings

import pytest
import torch
import torch.nn.functional as F
from conftest import shake
from torch.utils.cpp_extension import include_paths

from demoe.core.precision import bfloat16_instructions
from demoe.inference.fold import FoldedBlock, gate
from demoe.inference.strip_halves import pixels
from demoe.inference.strip_operations import FusedWeights
from demoe.models import fused_block
from demoe.models.demoe import DeMoE, DeMoEConfig
from demoe.models.layers import NAFBlock, checkpointing, fusing, normalise
from demoe.training.stages import kept_for_backward

# Skipped only where there is none: a compiler that fails is a fault.
needs_compiler = pytest.mark.skipif(not any(map(shutil.which, fused_block.COMPILERS)), reason="no C++ compiler")
SIZES = {"encoder_blocks": (1, 1), "middle_blocks": 1, "decoder_blocks": (1, 1)}


def block(channels, dtype=torch.float32, seed=0):
    torch.manual_seed(seed)
    made = shake(NAFBlock(channels), seed).to(dtype)
    with torch.no_grad():
        for norm in (made.norm1, made.norm2):
            norm.weight.add_(0.2 * torch.randn_like(norm.weight))
            norm.bias.add_(0.2 * torch.randn_like(norm.bias))
    return made.train()


def gradients(module, x, fused, seed=3):
    """The output, and the gradients of input and parameters for a random direction."""
    fusing(module, fused)
    x = x.clone().requires_grad_()
    out = module(x)
    direction = torch.randn(out.shape, generator=torch.Generator().manual_seed(seed), dtype=out.dtype)
    return out.detach(), torch.autograd.grad(out, [x, *module.parameters()], direction)


def close(found, expected, tolerance):
    return (found - expected).norm() <= tolerance * expected.norm()


@needs_compiler
@pytest.mark.parametrize("channels", [4, 8, 16, 32, 64])
@pytest.mark.parametrize("size", [(1, 1), (3, 5), (7, 2)])
def test_gradients_are_those_of_differences(channels, size):
    module = block(channels, torch.float64)
    names, values = zip(*module.named_parameters(), strict=True)
    x = torch.randn(2, channels, *size, dtype=torch.float64, requires_grad=True)

    def run(x, *parameters):
        return torch.func.functional_call(module, dict(zip(names, parameters, strict=True)), (x,))

    assert run(x, *values).grad_fn is not None and "FusedBlock" in kinds(run(x, *values))
    values = [value.detach().clone().requires_grad_() for value in values]
    assert torch.autograd.gradcheck(run, (x, *values), fast_mode=True)


def kinds(out):
    """The names of the graph's last nodes."""
    return f"{out.grad_fn} {[node for node, _ in out.grad_fn.next_functions]}"


@needs_compiler
@pytest.mark.parametrize("channels", [4, 8, 16, 32, 48, 64])
@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 7, 5), (1, 3, 67), (3, 33, 21), (1, 9, 530)], ids=str)
def test_a_block_is_the_same_fused_and_operation_by_operation(channels, shape):
    batch, *size = shape
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-5)):
        module, x = block(channels, dtype), torch.randn(batch, channels, *size, dtype=dtype)
        expected, found = gradients(module, x, False), gradients(module, x, True)
        assert close(found[0], expected[0], tolerance)
        total, other = (torch.cat([g.flatten() for g in side[1]]) for side in (expected, found))
        assert close(other, total, tolerance) and not torch.equal(other, total)


def rounded(x):
    return x.bfloat16().to(x.dtype)


def slow_half(module, x):
    """The block operation by operation, the factors of its large products rounded to bfloat16 as the fused block folds
    them."""

    def product(x, weight, bias):
        return F.conv2d(rounded(x), rounded(weight)[:, :, None, None], bias)

    def folded(norm, conv):
        weight = conv.weight.flatten(1)
        return weight * norm.weight, conv.bias + weight @ norm.bias

    def scaled(conv, scale):
        return conv.weight.flatten(1) * scale.view(-1, 1), conv.bias * scale.flatten()

    gate = module.sg
    y = gate(module.conv2(product(normalise(x, module.norm1.eps), *folded(module.norm1, module.conv1))))
    x = x + product(y * module.sca(y), *scaled(module.conv3, module.beta))
    y = gate(product(normalise(x, module.norm2.eps), *folded(module.norm2, module.conv4)))
    return x + product(y, *scaled(module.conv5, module.gamma))


@needs_compiler
@pytest.mark.parametrize("channels", [4, 5, 16, 32, 48, 64])
@pytest.mark.parametrize("shape", [(9, 1, 1), (2, 7, 5), (3, 33, 21), (1, 9, 530)], ids=str)
def test_products_in_bfloat16_round_their_factors_and_nothing_else(channels, shape, monkeypatch):
    """On any processor: without instructions for it the factors are rounded all the same."""
    batch, *size = shape
    module, x = block(channels), torch.randn(batch, channels, *size)
    exact = gradients(module, x, False)
    monkeypatch.setattr(fused_block, "_half", lambda: True)
    with torch.autocast("cpu", torch.bfloat16):
        found = gradients(module, x, True)
        plain = gradients(module, x, False)
    assert found[0].dtype == torch.float32
    # Rounding falls the other way for a few factors whose own sums differ in their last digits.
    assert close(found[0], slow_half(module, x).detach(), 3e-4)
    for pick in (lambda side: side[0].flatten().float(), lambda side: torch.cat([g.flatten() for g in side[1]])):
        given, want, usual = map(pick, (found, exact, plain))
        assert 0 < (given - want).norm() < 1.5 * (usual - want).norm() < 0.05 * want.norm()


@needs_compiler
@pytest.mark.parametrize("channels", [4, 5, 16, 48])
@pytest.mark.parametrize("size", [(7, 5), (9, 530)], ids=str)
def test_maps_in_bfloat16_are_rounded_where_they_are_written_and_nowhere_else(channels, size):
    folded, x = FoldedBlock(block(channels)), torch.randn(1, channels, *size).bfloat16()
    operations, half = fused_block.operations(), FusedWeights(folded.bfloat16())
    assert half.exact == torch.float32
    w = {name: one.float() for name, one in folded.named_buffers()}

    def product(x, which):
        return F.conv2d(rounded(x), w["w" + which], w["b" + which])

    y = F.conv2d(product(normalise(x.float(), folded.eps), "1"), w["w2"], w["b2"], padding=1, groups=2 * channels)
    y = gate(y)  # (1, C, H, W)
    gated, mean = operations.first(pixels(x), *half.first)
    assert gated.dtype == torch.bfloat16 and mean.dtype == torch.float32
    assert close(mean, y.mean((2, 3)), 5e-4) and close(gated.float(), pixels(rounded(y)), 1e-3)

    scale = torch.randn(1, channels)
    middle = x.float() + product(gated.float().permute(0, 3, 1, 2) * scale.view(1, -1, 1, 1), "3")
    expected = middle + product(gate(product(normalise(middle, folded.eps), "4")), "5")
    _, out = operations.second(pixels(x), gated, scale, *half.second)
    assert out.dtype == torch.bfloat16 and close(out.float(), pixels(rounded(expected)), 1.3e-3)
    place = pixels(x).clone()
    operations.second(place, gated, scale, *half.second, True)
    assert torch.equal(out, place)


@needs_compiler
@pytest.mark.skipif(not bfloat16_instructions(), reason="the processor has no products of bfloat16")
def test_bfloat16_is_multiplied_where_the_processor_does():
    assert torch.backends.cpu.get_cpu_capability() != "AVX512" or fused_block.bfloat16()


@needs_compiler
def test_a_weight_that_was_packed_for_another_product_is_refused():
    operations, x = fused_block.operations(), torch.randn(1, 3, 3, 32, dtype=torch.float64)
    weight = torch.randn(64, 32, dtype=torch.float64)
    others = (torch.zeros(64), torch.zeros(64, 9), torch.zeros(64))
    for packed in (operations.pack(weight.float()), operations.pack(weight, True)):
        with pytest.raises(RuntimeError, match="packed for another product"):
            operations.first(x, packed, *(one.double() for one in others), 1e-6)
    for packed in (operations.pack(weight.float()), operations.pack(weight.bfloat16(), True)):
        with pytest.raises(RuntimeError, match="packed for another product"):
            operations.first(x.bfloat16(), packed, *others, 1e-6)


@needs_compiler
def test_a_batch_of_nothing_comes_back():
    assert block(8)(torch.zeros(0, 8, 4, 4)).shape == (0, 8, 4, 4)


@needs_compiler
@pytest.mark.parametrize("threads", [2, 3])
def test_threads_share_the_work_in_the_same_way_each_time(threads):
    module, x = block(16), torch.randn(1, 16, 70, 40)
    alone = gradients(module, x, True)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        first, again = gradients(module, x, True), gradients(module, x, True)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(first[0], again[0]) and all(map(torch.equal, first[1], again[1]))
    assert close(first[0], alone[0], 1e-6) and all(map(close, first[1], alone[1], [1e-4] * len(alone[1])))


@needs_compiler
def test_a_network_keeps_a_third_for_the_backward_pass():
    model = shake(DeMoE(DeMoEConfig(8, **SIZES))).train()
    x, kept, found = torch.rand(2, 3, 32, 32), {}, {}
    for fused in (False, True):
        fusing(model, fused)
        torch.manual_seed(0)  # dropout
        with kept_for_backward(model) as counted:
            loss = model(x).image.square().sum()
        loss.backward()
        kept[fused] = sum(counted.values())
        found[fused] = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
        model.zero_grad()
    assert close(found[True], found[False], 1e-5)
    assert kept[True] < 0.45 * kept[False]


@needs_compiler
def test_a_fused_block_can_be_recomputed():
    module, x = block(8), torch.randn(2, 8, 9, 9)
    expected = gradients(module, x, True)
    checkpointing(module, True)
    found = gradients(module, x, True)
    assert torch.equal(found[0], expected[0]) and all(map(torch.equal, found[1], expected[1]))


@needs_compiler
def test_it_is_one_operation_without_gradients_too(monkeypatch):
    module, x, called, run = block(8), torch.randn(2, 8, 7, 5), [], fused_block.FusedBlock.apply
    monkeypatch.setattr(fused_block.FusedBlock, "apply", lambda *given: called.append(1) or run(*given))
    with torch.no_grad():
        found = module(x)
        assert called
        fusing(module, False)
        assert close(found, module(x), 1e-6) and len(called) == 1


@needs_compiler
def test_blocks_run_operation_by_operation_where_someone_listens_or_another_type_is_asked_for():
    module, x, heard = block(8), torch.randn(1, 8, 5, 5), []
    assert "FusedBlock" in str(module(x).grad_fn) or "FusedBlock" in kinds(module(x))
    hook = module.conv2.register_forward_hook(lambda *_: heard.append(1))
    assert "FusedBlock" not in kinds(module(x)) and heard
    hook.remove()
    with torch.autocast("cpu", torch.bfloat16):
        assert ("FusedBlock" in kinds(module(x))) == fused_block.bfloat16()
    with torch.autocast("cpu", torch.float16):
        assert "FusedBlock" not in kinds(module(x))
    with torch.no_grad():
        assert module(x).grad_fn is None


@needs_compiler
def test_a_wrong_map_is_refused():
    module = block(8)
    with pytest.raises(RuntimeError):
        module(torch.randn(1, 9, 5, 5))


@pytest.mark.skipif(platform.machine() != "x86_64" or not shutil.which("g++"), reason="no g++ for x86-64")
@pytest.mark.parametrize("instructions", ["DEFAULT", *fused_block.FLAGS, "AVX512 with bfloat16"])
def test_every_set_of_instructions_compiles(instructions):
    """Also those that this processor does not have: PyTorch's headers bring other names with each."""
    instructions, _, half = instructions.partition(" with ")
    if instructions == torch.backends.cpu.get_cpu_capability() and bool(half) == bfloat16_instructions():
        assert fused_block.operations() is not None
        return
    defined = [f"-DCPU_CAPABILITY={instructions}", f"-DCPU_CAPABILITY_{instructions}"]
    headers = [f"-I{folder}" for folder in [*include_paths(), sysconfig.get_path("include")]]
    needed = [*fused_block.FLAGS.get(instructions, ()), *([fused_block.BFLOAT16] if half else [])]
    flags = ["-std=c++20", "-fsyntax-only", "-w", *defined, *headers, *needed]
    done = subprocess.run(["g++", *flags, str(fused_block.SOURCE)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_without_a_compiler_networks_run_and_say_so_once(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.delenv("DEMOE_FUSED", raising=False)
    code = (
        "import torch; from demoe.models.layers import NAFBlock; block = NAFBlock(4); x = torch.rand(1, 4, 5, 5); "
        "print(torch.equal(block(x), block(x)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout == "True\n"
    assert done.stderr.count("there is no C++ compiler") == 1 and not list(tmp_path.rglob("*.so"))


def test_the_fused_block_can_be_left_out(monkeypatch):
    monkeypatch.setenv("DEMOE_FUSED", "0")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert fused_block.operations.__wrapped__() is None


def test_what_is_compiled_is_known_by_all_of_its_source(tmp_path, monkeypatch):
    """Without a compiler the folder is not made: that of the source as it is, and as a header of it has changed."""
    for file in (fused_block.SOURCE, *fused_block.SOURCE.parent.glob("fused_*.h")):
        shutil.copy(file, tmp_path)
    monkeypatch.setattr(fused_block, "SOURCE", tmp_path / fused_block.SOURCE.name)
    asked = []
    monkeypatch.setattr(fused_block.hashlib, "sha256", lambda content: asked.append(content) or hashlib.sha1(content))
    monkeypatch.setattr(fused_block, "COMPILERS", ())
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    headers = sorted(tmp_path.glob("*.h"))
    assert len(headers) == 5
    for changed in (None, *headers):
        if changed:
            changed.write_text(changed.read_text() + "// changed\n")
        with pytest.raises(RuntimeError, match="no C\\+\\+ compiler"):
            fused_block.compiled()
    assert len(set(asked)) == 6


def test_a_compiler_that_fails_is_one_sentence(tmp_path, monkeypatch):
    broken = tmp_path / "broken.cpp"
    broken.write_text("this is no C++\n")
    monkeypatch.setattr(fused_block, "SOURCE", broken)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("DEMOE_FUSED", raising=False)
    with pytest.warns(UserWarning, match=r"networks run without the fused block.*(compiler|failed)"):
        assert fused_block.operations.__wrapped__() is None
