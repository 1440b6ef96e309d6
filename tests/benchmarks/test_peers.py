"""Other programs restore what ours restores, where they are installed."""

import warnings

import pytest
import torch

from benchmarks.options import Case
from benchmarks.peers import PEERS, peers
from benchmarks.weights import shaken
from demoe.models.nafnet import NAFNet, NAFNetConfig


def test_peers_give_our_network_s_result():
    found = [name for name in PEERS if pytest.importorskip("onnxscript") and _installed(name)]
    if not found:
        pytest.skip("neither ONNX Runtime nor OpenVINO is installed")
    sizes = {"encoder_blocks": (1,), "middle_blocks": 1, "decoder_blocks": (1,)}
    model, case = shaken(NAFNet(NAFNetConfig(4, **sizes))), Case("small", 1, 24, 37)  # exported sooner than experts
    x = torch.rand(1, 3, 24, 37, generator=torch.Generator().manual_seed(0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of one that is not installed, and the exporter's
        calls = peers(model, case, x)
    assert list(calls) == found
    with torch.no_grad():
        expected = model(x).image
    for call in calls.values():
        assert (call() - expected).abs().max() < 1e-4 * expected.abs().max()


def test_no_peers_for_mixed_experts():
    assert peers(None, Case("mixed", 2, 24, 24, mixed=True), torch.rand(2, 3, 24, 24)) == {}


def _installed(name):
    try:
        __import__(name)
    except ImportError:
        return False
    return True
