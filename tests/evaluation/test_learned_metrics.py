"""LPIPS in both conventions, pyiqa, and weights that are missing: no network here, and none is waited for."""

import contextlib
import math
import sys
import threading
import types
import urllib.error
import urllib.request

import lpips as package
import pytest
import torch
from test_metrics import waves

from demoe.core import downloads
from demoe.evaluation import learned_metrics, metrics


@pytest.fixture(autouse=True)
def nothing_remembered(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    kept = (learned_metrics._network, learned_metrics._pyiqa, downloads._asked)
    for cache in kept:
        cache.cache_clear()
    yield
    for cache in kept:
        cache.cache_clear()


@pytest.fixture
def alex(monkeypatch):
    """AlexNet with random weights under lpips' own linear layers: what is asked of the real one, without its file."""

    class Small(torch.nn.Module):  # torchvision's features; its classifier is most of the memory and lpips drops it
        def __init__(self, pretrained=False):
            super().__init__()
            from torchvision.models.alexnet import AlexNet

            with torch.device("meta"):
                whole = AlexNet()
            self.features = whole.features.to_empty(device="cpu")
            for parameter in self.features.parameters():
                torch.nn.init.normal_(parameter, std=0.05)

    from lpips import pretrained_networks

    monkeypatch.setattr(pretrained_networks.tv, "alexnet", Small)
    monkeypatch.setattr(learned_metrics, "require", lambda *_: None)
    torch.manual_seed(0)
    return package


def test_the_two_conventions_of_lpips(alex):
    image, sharp = waves()
    right, authors = (
        learned_metrics.lpips(image, sharp, "alex"),
        learned_metrics.lpips(image, sharp, "alex", authors=True),
    )
    network = learned_metrics._network("alex", "cpu")
    assert right.item() == network(2 * image - 1, 2 * sharp - 1).item()
    assert authors.item() == network(image, sharp).item()  # the authors': [0, 1] goes in unnormalised
    assert right.item() > 0 and abs(right.item() / authors.item() - 1) > 0.1
    assert learned_metrics.lpips(sharp, sharp, "alex").item() == 0
    batch = learned_metrics.lpips(torch.cat((image, sharp)), torch.cat((sharp, sharp)), "alex")
    assert batch.tolist() == pytest.approx([right.item(), 0], abs=1e-6)


def test_the_smallest_picture_for_lpips(alex):
    assert metrics.METRICS["lpips_alex"].smallest == 31
    image = torch.rand(1, 3, 31, 32)
    assert math.isfinite(metrics.measure(image, image, ["lpips_alex"]).values["lpips_alex"])
    with pytest.raises(RuntimeError, match="too small"):  # one pixel less, and the network itself refuses
        learned_metrics.lpips(torch.rand(1, 3, 30, 32), torch.rand(1, 3, 30, 32), "alex")
    assert metrics.measure(image[..., :30], image[..., :30], ["lpips_alex"]).reasons.endswith("under 31x31 pixels")


def test_missing_weights_are_nan_and_the_reason_names_the_file_and_no_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    image, sharp = waves()
    found = metrics.measure(image, sharp, ["psnr", "lpips_vgg", "lpips_alex_authors"])
    assert math.isfinite(found.values["psnr"])
    assert math.isnan(found.values["lpips_vgg"]) and math.isnan(found.values["lpips_alex_authors"])
    assert found.missing["lpips_vgg"].reason == "weights missing (vgg16-397923af.pth)"
    assert str(tmp_path) not in found.reasons and str(tmp_path) in str(found.missing["lpips_vgg"])
    assert list(metrics.missing(["psnr", "lpips_vgg"])) == ["lpips_vgg"]


def test_a_host_that_does_not_answer_is_given_up_and_asked_once(monkeypatch):
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(downloads, "PROBE_SECONDS", 0.05)
    asked, released = [], threading.Event()

    def hang(request, timeout):
        asked.append(request.full_url)
        released.wait(20)  # as looking up a name does, whatever the time limit
        raise OSError

    monkeypatch.setattr(urllib.request, "urlopen", hang)
    try:
        for _ in range(3):
            with pytest.raises(downloads.CannotMeasure, match="no answer within"):
                downloads.require("X", ["x.pth"], "https://example.invalid/a/b")
        assert asked == ["https://example.invalid"]
    finally:
        released.set()


def test_a_host_that_was_gone_is_asked_again_in_the_next_minute(monkeypatch):
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    asked = []

    def gone(request, timeout):
        asked.append(request.full_url)
        if len(asked) == 1:
            raise urllib.error.URLError("unreachable network")
        return contextlib.nullcontext()

    monkeypatch.setattr(urllib.request, "urlopen", gone)
    told = []
    for now in (120, 179, 181):
        monkeypatch.setattr(downloads.time, "monotonic", lambda now=now: now)
        told.append(downloads.unreachable("https://example.invalid/x"))
    assert told == ["unreachable network", "unreachable network", ""] and len(asked) == 2


def test_a_host_that_answers_no_can_be_reached(monkeypatch):
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)

    def forbidden(request, timeout):
        raise urllib.error.HTTPError(request.full_url, 403, "Forbidden", {}, None)

    monkeypatch.setattr(urllib.request, "urlopen", forbidden)
    assert downloads.unreachable("https://example.invalid/x") == ""


def test_files_in_the_cache_are_enough(tmp_path, monkeypatch):
    def no_network(*_, **__):
        raise AssertionError("asked the network")

    monkeypatch.setattr(urllib.request, "urlopen", no_network)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    file = tmp_path / "torch/hub/checkpoints" / learned_metrics.BACKBONES["alex"]
    file.parent.mkdir(parents=True)
    file.write_bytes(b"not weights")
    learned_metrics.check_lpips("alex")
    image, sharp = waves()
    found = metrics.measure(image, sharp, ["lpips_alex"])
    assert found.reasons == "lpips_alex: weights damaged (alexnet-owt-7be5be79.pth)"


def fake_pyiqa(monkeypatch, metric):
    module = types.ModuleType("pyiqa")
    module.__spec__ = types.SimpleNamespace(name="pyiqa")
    module.create_metric = metric
    monkeypatch.setitem(sys.modules, "pyiqa", module)
    monkeypatch.setattr(learned_metrics, "require", lambda *_: None)


def test_pyiqa_sees_8_bit_pictures_and_a_reference_only_where_it_needs_one(monkeypatch):
    seen = []

    def create_metric(name, device):
        assert device == "cpu"
        return lambda *pictures: seen.append((name, *pictures)) or torch.tensor([[7.5]])

    fake_pyiqa(monkeypatch, create_metric)
    image, sharp = waves()
    found = metrics.measure(image, sharp, ["niqe", "pieapp"])
    assert found.values == {"niqe": 7.5, "pieapp": 7.5} and not found.missing
    assert [(name, len(pictures)) for name, *pictures in seen] == [("niqe", 1), ("pieapp", 2)]
    values = seen[0][1] * 255
    torch.testing.assert_close(values, values.round(), atol=1e-4, rtol=0)
    assert metrics.measure(image, None, ["niqe", "pieapp"]).reasons == "pieapp: no ground truth"


def test_what_pyiqa_refuses_stops_nothing(monkeypatch):
    def refuse(*_):
        raise AssertionError("input too small\nfor this")

    fake_pyiqa(monkeypatch, lambda name, device: refuse)
    image, _ = waves()
    assert metrics.measure(image, None, ["niqe"]).reasons == "niqe: pyiqa refuses this picture (input too small)"

    def broken(name, device):
        raise OSError("half a file")

    fake_pyiqa(monkeypatch, broken)
    assert metrics.measure(image, None, ["brisque"]).reasons == "brisque: pyiqa could not load brisque"


def test_without_pyiqa_its_metrics_are_missing(monkeypatch):
    monkeypatch.setattr(learned_metrics.importlib.util, "find_spec", lambda name: None)
    image, _ = waves()
    assert metrics.measure(image, None, ["musiq"]).reasons == "musiq: pyiqa not installed"
