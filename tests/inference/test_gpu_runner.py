"""The runner for GPUs: on a CPU all but the graphs, on a GPU also those, and that the host never waits."""

from __future__ import annotations

import warnings

import pytest
import torch

from demoe.inference import restore, tiles
from demoe.inference.gpu_runner import GpuRunner
from demoe.inference.optimize import OptimizedNetwork, on_gpu
from demoe.models.demoe import DeMoE, DeMoEConfig
from demoe.models.nafnet import NAFNet, NAFNetConfig

SIZES = {"width": 8, "encoder_blocks": (1,), "middle_blocks": 0, "decoder_blocks": (0,)}  # quick to compile
WITH_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def _model(device: str = "cpu") -> DeMoE:
    torch.manual_seed(3)
    model = DeMoE(DeMoEConfig(**SIZES)).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.15 * torch.randn_like(p))
    return model.to(device)


def _same(got, expected, tolerance: float = 1e-5) -> None:
    for mine, plain in zip(got, expected, strict=True):
        if plain is None:
            assert mine is None
            continue
        assert mine.shape == plain.shape
        assert (mine - plain).abs().max() <= tolerance * plain.abs().max()


@torch.no_grad()
@pytest.mark.parametrize("backend", [None, "eager"])
def test_equal_to_the_model_however_experts_are_named(backend):
    model, x = _model(), torch.rand(2, 3, 11, 14)
    run = GpuRunner(model, backend=backend, patience=0)
    for expert in (None, "auto", "GoPro", ["low_light", None], (None, "defocus")):
        _same(run(x, expert), model(x, expert))
    _same(run(x, k=2), model(x, k=2))
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        got, kept = run(x.clone(), k=2), run(x, k=2)
    _same(got, kept)
    _same(kept, model(x, k=2))
    _same(run(x[:1], k=None), model(x[:1], k=None))


@torch.no_grad()
def test_a_size_is_compiled_when_it_comes_again():
    calls = []

    def backend(module, inputs):
        calls.append(inputs[0].shape)
        return module.forward

    run, x = GpuRunner(_model(), backend=backend, patience=2), torch.rand(1, 3, 8, 8)
    first = run(x)
    run(x)
    assert not calls
    _same(run(x), first)
    run(x, "GoPro")  # another expert is no other program
    assert len(calls) == 1
    run(torch.rand(1, 3, 12, 8))
    assert len(calls) == 1
    for _ in range(3):
        run(x, k=2)
    assert len(calls) == 2


@torch.no_grad()
def test_many_sizes_are_compiled():
    run = GpuRunner(_model(), backend="eager", patience=0)
    with warnings.catch_warnings(), torch._dynamo.config.patch(cache_size_limit=1):
        warnings.simplefilter("error")
        for width in (3, 4):  # beyond that limit
            assert run(torch.rand(1, 3, 4, width)).image.shape[-1] == width


@torch.no_grad()
def test_falls_back_with_one_warning_when_compilation_fails():
    def broken(module, inputs):
        raise RuntimeError("no compiler here\nmore lines")

    model, x = _model(), torch.rand(1, 3, 8, 8)
    run = GpuRunner(model, backend=broken, patience=0)
    with pytest.warns(UserWarning, match="could not be compiled, so it runs slower") as caught:
        _same(run(x), model(x))
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _same(run(x), model(x))


@torch.no_grad()
def test_nafnet_and_bfloat16():
    torch.manual_seed(0)
    model = NAFNet(NAFNetConfig(**SIZES, router=True)).eval()
    x = torch.rand(1, 3, 9, 10)
    _same(GpuRunner(model, backend=None)(x), model(x))
    model, exact = _model(), _model()(x)
    got = GpuRunner(model, torch.bfloat16, backend=None)(x)
    assert 0 < (got.image - exact.image).square().mean() < 1e-5 * (exact.image.max() - exact.image.min()).square()


def test_bad_input_is_refused():
    run, x = GpuRunner(_model(), backend=None), torch.rand(2, 3, 8, 8)
    with pytest.raises(ValueError, match="k must be between 1 and 5, got 6"):
        run(x, k=6)
    with pytest.raises(ValueError, match="1 experts named for 2 images"):
        run(x, ["GoPro"])
    with pytest.raises(ValueError, match="unknown expert 'nobody'"):
        run(x, "nobody")
    with pytest.raises(ValueError, match="the picture is on meta, the network on cpu"):
        run(x.to("meta"))
    small = GpuRunner(DeMoE(DeMoEConfig(**SIZES, num_experts=3)).eval(), backend=None)
    with pytest.raises(ValueError, match="not among the 3 experts"):
        small(x, "low_light")


@torch.no_grad()
@pytest.mark.parametrize("nested", [False, True])
def test_too_little_memory_for_a_graph_means_to_run_without(monkeypatch, nested):
    def full(*_):
        try:
            raise torch.OutOfMemoryError("no room")
        finally:
            if nested:  # as the end of a capture does that failed
                raise RuntimeError("capture failed")

    run, x = GpuRunner(_model(), backend=None), torch.rand(2, 3, 8, 8)
    monkeypatch.setattr(run, "_capture", full)
    run._kept["another size"] = run._pool = object()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _same(run._replayed("size", x, run._index(None, 2), 1), _model()(x))
    assert not run._kept and run._pool is None and run.graphs == 4
    assert run.graph_pixels == 2 * 8 * 8 - 1  # smaller ones may still have a graph


@torch.no_grad()
def test_no_graph_at_all_where_capturing_fails(monkeypatch):
    def broken(*_):
        raise RuntimeError("not here")

    run, x = GpuRunner(_model(), backend=None), torch.rand(1, 3, 8, 8)
    monkeypatch.setattr(run, "_capture", broken)
    with pytest.warns(UserWarning, match="no CUDA graph could be captured.*not here"):
        _same(run._replayed("size", x, run._index(None, 1), 1), _model()(x))
    assert run.graphs == 0


@pytest.mark.parametrize("before", [False, True])
def test_tf32_is_off_inside_and_the_callers_settings_stay(monkeypatch, before):
    matmul, cudnn, inside = torch.backends.cuda.matmul, torch.backends.cudnn, []
    found = matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark
    run = GpuRunner(_model(), backend=None)
    plain = run.network.forward
    monkeypatch.setattr(
        run.network,
        "forward",
        lambda *given: (inside.append((matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark)), plain(*given))[1],
    )
    try:
        matmul.allow_tf32 = cudnn.allow_tf32 = before
        cudnn.benchmark = True
        run(torch.rand(1, 3, 8, 8))
        assert inside == [(False, False, True)]
        assert (matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark) == (before, before, True)
    finally:
        matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark = found


@torch.no_grad()
def test_photographs_and_pictures_go_through_the_network_for_gpus(monkeypatch):
    model, x = _model().eval(), torch.rand(3, 20, 30)
    assert on_gpu(model) is None
    expected, large = restore.restore(model, x, k=2), tiles.restore_large(model, x, k=2)
    fast = OptimizedNetwork(model, torch.float32)
    calls, runner = [], GpuRunner(model, backend=None)
    fast._run = lambda *given: (calls.append(1), runner(*given))[1]
    for module in (restore, tiles):
        monkeypatch.setattr(module, "on_gpu", lambda *_: fast)
    _same(restore.restore(model, x, k=2), expected)
    found = tiles.restore_large(model, x, k=2)
    _same((found.image, found.logits, found.weights), (large.image, large.logits, large.weights))
    assert len(calls) == 2

    def full(*_):
        calls.append(1)
        raise torch.OutOfMemoryError("no room")

    fast._run = full
    assert torch.equal(tiles.restore_large(model, x, k=2).image, large.image) and len(calls) == 3


def _without_waiting(run: GpuRunner, *call):
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        return run(*call)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@WITH_GPU
@torch.no_grad()
@pytest.mark.parametrize("backend", [None, "inductor"])
def test_on_a_gpu_graphs_are_equal_and_the_host_never_waits(backend):
    model = _model()
    run = GpuRunner(model, device="cuda", backend=backend, patience=0, graphs=1)
    eager = GpuRunner(model, device="cuda", backend=None, patience=100)
    torch.backends.cuda.matmul.allow_tf32 = False
    for size in ((24, 16), (17, 30), (24, 16)):  # the third time its graph is gone again
        x, expected = torch.rand(4, 3, *size), []
        for expert in (None, "GoPro", ["low_light", None, "DPDD", "GoPro"]):
            expected.append(model(x, expert))
            run(x.cuda(), expert)
        on_gpu = x.cuda()
        for expert, plain in zip((None, "GoPro", ["low_light", None, "DPDD", "GoPro"]), expected, strict=True):
            _same([part.cpu() for part in _without_waiting(run, on_gpu, expert)], plain, 1e-4)
            _same([part.cpu() for part in _without_waiting(eager, on_gpu, expert)], plain, 1e-4)


@WITH_GPU
@torch.no_grad()
def test_on_a_gpu_results_outlive_the_next_call():
    run = GpuRunner(_model("cuda"), backend=None, patience=0)
    x, y = torch.rand(2, 1, 3, 16, 16, device="cuda").unbind(0)
    first = run(x).image
    kept = first.clone()
    run(y)
    assert torch.equal(first, kept)
    assert not torch.equal(first, run(y).image)
