import numpy as np
import pytest
import torch
from conftest import shake

from demoe.core.downloads import CannotMeasure
from demoe.core.tasks import DATASETS, EXPERTS
from demoe.data.pairs import PairedSet
from demoe.evaluation import benchmark, embedding, weight_similarity
from demoe.models.demoe import DeMoE, DeMoEConfig
from demoe.models.nafnet import NAFNet, NAFNetConfig
from demoe.report import similarity_figures as drawn

SMALL = DeMoEConfig(4, (1, 1), 1, (1, 1))


def sets(count: int = 3) -> list[PairedSet]:
    generator = torch.Generator().manual_seed(0)
    made = []
    for i, name in enumerate(DATASETS):
        pixels = torch.randint(0, 50 * (i + 1), (count, 2, 3, 21, 34), dtype=torch.uint8, generator=generator)
        read = lambda i, window=None, p=pixels: (p[i, 0], p[i, 1])  # noqa: E731
        made.append(PairedSet(f"{name}-syn", "synthetic", [str(k) for k in range(count)], read, lambda i: (21, 34)))
    return made


@pytest.fixture(scope="module")
def model() -> DeMoE:
    torch.manual_seed(0)
    return shake(DeMoE(SMALL))


def test_choosing_by_hand_gives_that_experts_picture(model):
    image = torch.rand(1, 3, 21, 34)
    methods = weight_similarity.by_hand(model)
    assert list(methods) == ["input", "router", *EXPERTS]
    with torch.no_grad():
        for name in EXPERTS:
            torch.testing.assert_close(methods[name](image, None), model(image, expert=name).image.clamp(0, 1))
        torch.testing.assert_close(methods["router"](image, None), model(image, k=1).image.clamp(0, 1))
    assert len({methods[name](image, None).sum().item() for name in EXPERTS}) == 5


def test_the_matrix_is_the_mean_over_each_sets_pictures(model):
    scores = benchmark.score(sets(), weight_similarity.by_hand(model), progress=False)
    table = weight_similarity.matrix(scores)
    assert table.shape == (5, 7) and list(table.columns) == ["input", "router", *EXPERTS]
    one = scores[(scores.set == "GoPro-syn") & (scores.method == "low_light")].psnr
    assert len(one) == 3 and table.loc["GoPro-syn", "low_light"] == pytest.approx(one.mean())
    drawn.expert_matrix({"random": table})


def test_movement_is_zero_at_the_start_and_what_was_added_afterwards(model):
    torch.manual_seed(1)
    start = DeMoE(SMALL)
    still = weight_similarity.moved(start, start)
    assert (still.change[still.kind != weight_similarity.SCALES] == 0).all()
    assert (still.change[still.kind == weight_similarity.SCALES] == 0).all()  # beta and gamma start at zero
    there = DeMoE(SMALL)
    there.load_state_dict(start.state_dict())
    with torch.no_grad():
        for parameter in there.experts[1].experts[2].parameters():
            parameter.mul_(1.25)
        there.experts[0].experts[3].beta.fill_(2.0)
    table = (
        weight_similarity.moved(there, start)
        .set_index(["expert", "level", "kind"])
        .change.groupby(level=[0, 1, 2])
        .mean()
    )
    assert np.allclose(table["local_motion", "decoder 2"][["3x3 convolution", "SCA", "LayerNorm"]], 0.25)
    assert table["local_motion", "middle", "SCA"] == 0
    assert table["synth_global_motion", "middle", weight_similarity.SCALES] == pytest.approx(2 / np.sqrt(2))
    same = weight_similarity.moved(there, start).query("kind == 'SCA'").correlation
    assert np.allclose(same, 1)  # longer, in the same direction


def test_experts_that_are_copies_correlate_fully(model):
    copied = DeMoE(SMALL)
    copied.load_state_dict(model.state_dict())
    for block in copied.experts:
        for expert in block.experts:
            expert.load_state_dict(block.experts[0].state_dict())
            torch.nn.init.normal_(expert.norm1.weight, generator=torch.Generator().manual_seed(5))
            torch.nn.init.normal_(expert.norm2.weight, generator=torch.Generator().manual_seed(6))
    table = weight_similarity.correlations(copied)
    assert np.allclose(table.value, 1) and len(table) == 10 * 3 * 8
    apart = weight_similarity.correlations(model)
    assert apart[apart.kind == "1x1 convolution"].value.abs().mean() < 0.3
    drawn.expert_bars({"random": apart, "pretrained": table})


def networks() -> dict[str, NAFNet]:
    torch.manual_seed(0)
    made = {}
    for name in ("random weights", "trained"):
        made[name] = shake(NAFNet(NAFNetConfig(4, (1, 1), 1, (1, 1))))
    return made


def test_without_clip_the_second_reading_is_empty_and_says_why(monkeypatch):
    def missing(pictures, progress=True):
        raise CannotMeasure("no weights here")

    monkeypatch.setattr(embedding, "clip_features", missing)
    seen = embedding.encoder_views(networks(), sets(), progress=False)
    assert seen.missing == "no weights here" and set(seen.points.reading) == {embedding.POOLED}
    numbers = seen.numbers.set_index(["reading", "baseline"])
    assert numbers.knn[embedding.PICTURED].isna().all() and numbers.note[embedding.PICTURED].str.contains("CLIP").all()
    assert numbers.knn[embedding.POOLED, embedding.NO_NETWORK] == 1  # these sets differ in brightness and contrast
    assert len(seen.points) == 2 * 15 and seen.points.notna().all(axis=None) and seen.alike.cka.between(0, 1).all()
    by = seen.pictures.groupby("baseline")
    assert len(seen.pictures) == 3 * 15 and not seen.pictures.duplicated(["baseline", "set", "image"]).any()
    for name in (*networks(), embedding.NO_NETWORK):  # the numbers are the pictures' means
        of = numbers.loc[(embedding.POOLED, name)]
        assert by.right.mean()[name] == of.knn and np.isclose(by.silhouette.mean()[name], of.silhouette)
    figure = drawn.encoder_views(seen.points, seen.numbers)
    assert len(figure.axes) == 2 and "CLIP's weights" in figure._supxlabel.get_text()


def test_with_clip_there_are_both_readings(monkeypatch):
    def clip(pictures, progress=True):
        assert all(picture.shape == (3, 224, 224) for picture in pictures)
        return np.stack([picture[:, ::40, ::40].flatten().numpy() for picture in pictures])

    monkeypatch.setattr(embedding, "clip_features", clip)
    seen = embedding.encoder_views(networks(), sets(), progress=False)
    assert seen.missing == "" and set(seen.points.reading) == set(embedding.READINGS)
    assert seen.numbers.knn.notna().all() and len(seen.points) == 4 * 15
    assert len(drawn.encoder_views(seen.points, seen.numbers).axes) == 4
    again = embedding.encoder_views(networks(), sets(), progress=False)
    assert again.points.equals(seen.points) and again.numbers.equals(seen.numbers)
