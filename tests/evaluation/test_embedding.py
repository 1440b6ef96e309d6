import numpy as np
import pytest
import torch
from conftest import shake

from demoe.core import downloads
from demoe.data.pairs import PairedSet
from demoe.evaluation import embedding
from demoe.models.demoe import DeMoE, DeMoEConfig
from demoe.models.nafnet import NAFNet, NAFNetConfig


def clouds(distance, count=20, groups=3, seed=0):
    rng = np.random.default_rng(seed)
    points = rng.standard_normal((count * groups, 6))
    names = np.repeat([f"group {i}" for i in range(groups)], count)
    points += distance * np.repeat(rng.standard_normal((groups, 6)), count, axis=0)
    return points, names


def sets(count=3, size=(37, 21)):
    generator = torch.Generator().manual_seed(0)
    made = []
    for name in ("GoPro-syn", "DPDD-syn"):
        pixels = torch.randint(0, 256, (count, 3, *size), dtype=torch.uint8, generator=generator)
        made.append(
            PairedSet(
                name,
                "synthetic",
                [str(i) for i in range(count)],
                lambda i, window=None, p=pixels: (p[i], p[i]),
                lambda i: size,
            )
        )
    return made


def test_separated_groups_are_told_apart_and_mixed_ones_are_not():
    far, near = embedding.separability(*clouds(20)), embedding.separability(*clouds(0))
    assert far["knn"] == 1 and far["silhouette"] > near["silhouette"] + 0.05
    assert abs(near["knn"] - near["knn_shuffled"]) < 0.2 and 0.2 < far["knn_shuffled"] < 0.47  # chance is a third
    assert embedding.separability(*clouds(1)) == embedding.separability(*clouds(1))


def test_scale_and_offset_of_a_feature_change_nothing():
    points, names = clouds(2)
    moved = points * [1, 100, 1e-3, 5, 1, 7] + 3
    a, b = embedding.separability(points, names), embedding.separability(moved, names)
    assert a == pytest.approx(b)


@pytest.mark.parametrize("names", [["a"] * 6, ["a"] * 5 + ["b"]])
def test_too_few_pictures_are_refused(names):
    with pytest.raises(ValueError, match="at least two groups of at least two"):
        embedding.separability(np.zeros((6, 2)), np.array(names))


def test_two_pictures_a_group_are_enough():
    points, names = clouds(50, count=2, groups=2)
    assert embedding.separability(points, names)["knn"] == 1


def test_tsne_keeps_groups_and_repeats_itself():
    points, names = clouds(30)
    a, b = embedding.tsne(points, seed=4), embedding.tsne(points, seed=4)
    assert a.shape == (60, 2) and a.tobytes() == b.tobytes()
    assert embedding.separability(a, names)["knn"] > 0.95
    assert embedding.tsne(points[:5]).shape == (5, 2)  # perplexity fits few pictures


@pytest.mark.parametrize("kind", ["nafnet", "demoe"])
def test_encoder_features_are_what_the_router_reads(kind):
    if kind == "nafnet":
        model = shake(NAFNet(NAFNetConfig(width=4, encoder_blocks=(1, 1), decoder_blocks=(1, 1), router=True)))
    else:
        model = shake(DeMoE(DeMoEConfig(width=4, encoder_blocks=(1, 1), decoder_blocks=(1, 1))))
    read = []
    model.mlp_branch.register_forward_pre_hook(lambda module, inputs: read.append(inputs[0]))
    pairs = sets()
    features = embedding.encoder_features(model, pairs, progress=False)
    with torch.no_grad():
        expected = []
        for one in pairs:
            for i in range(len(one)):
                model(one.pair(i)[0][None])
                expected.append(read[-1][0].mean((1, 2)).numpy())
    assert features.shape == (6, 16)
    np.testing.assert_array_equal(features, np.stack(expected))
    assert embedding.labels(pairs).tolist() == ["GoPro-syn"] * 3 + ["DPDD-syn"] * 3
    pictures = embedding.feature_pictures(model, pairs)
    assert len(pictures) == 6 and all(p.shape == (3, 224, 224) and p.min() >= 0 and p.max() <= 1 for p in pictures)
    assert len({p.mean().item() for p in pictures}) > 1


def test_missing_clip_weights_are_named_at_once(monkeypatch, tmp_path):
    embedding._clip.cache_clear()
    monkeypatch.delenv("DEMOE_CLIP", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *a, **k: None)
    with pytest.raises(downloads.CannotMeasure, match=r"neither in .* nor can it be fetched .*\$DEMOE_CLIP"):
        embedding.clip_features([torch.zeros(3, 8, 8)], progress=False)
    monkeypatch.setenv("DEMOE_CLIP", str(tmp_path / "no.pt"))
    with pytest.raises(downloads.CannotMeasure, match=r"no\.pt, which is not a file"):
        embedding.clip_features([torch.zeros(3, 8, 8)], progress=False)


def test_clip_features_follow_from_a_file_of_weights(monkeypatch, tmp_path):
    """With random weights of CLIP's own shape: the path from a file to unit vectors, pictures of any size."""
    import open_clip

    torch.manual_seed(0)
    model = open_clip.create_model(embedding.CLIP_MODEL, pretrained=None)
    torch.save(model.state_dict(), tmp_path / "clip.pt")
    embedding._clip.cache_clear()
    monkeypatch.setenv("DEMOE_CLIP", str(tmp_path / "clip.pt"))
    pictures = [torch.rand(3, 37, 90), torch.rand(3, 300, 224)]
    features = embedding.clip_features(pictures, progress=False)
    embedding._clip.cache_clear()
    assert features.shape == (2, 512) and features.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1, rtol=1e-5)
    assert np.abs(features[0] - features[1]).max() > 1e-4
