import numpy as np
import pandas as pd
import pytest
import torch
from conftest import shake

from demoe.evaluation import similarity_controls
from demoe.evaluation.weight_similarity import KINDS, compare_layers, layers
from demoe.models.nafnet import NAFNet, NAFNetConfig

SMALL = NAFNetConfig(4, (1, 1), 1, (1, 1))


def moved(start: NAFNet, seed: int, by: float) -> NAFNet:
    """``start`` after a training that pushed every weight in a direction of its own."""
    model = NAFNet(SMALL)
    model.load_state_dict(start.state_dict())
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(
                by * parameter.std(correction=0).clamp(min=0.1) * torch.randn(parameter.shape, generator=generator)
            )
    return model.eval()


def untrained(seed: int) -> NAFNet:
    torch.manual_seed(seed)
    return NAFNet(SMALL).eval()


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    one, two = untrained(0), untrained(1)
    first = {name: moved(one, i, 0.5) for i, name in enumerate(("GoPro-syn", "DPDD-syn", "LOLBlur-syn", "LOLv2-real"))}
    second = {name: moved(two, 10 + i, 0.5) for i, name in enumerate(("GoPro-syn", "DPDD-syn"))}
    return similarity_controls.study(first, second, one, "LOLv2-real").measured()


def test_a_reordered_network_computes_the_same_function_with_other_weights():
    torch.manual_seed(0)
    model = shake(NAFNet(NAFNetConfig(6, (1, 1), 2, (1, 1), router=True)))
    copy = similarity_controls.reordered(model, seed=3)
    x = torch.rand(2, 3, 19, 26)
    with torch.no_grad():
        before, after = model(x), copy(x)
    assert torch.allclose(before.image, after.image, atol=1e-5)
    assert torch.allclose(before.logits, after.logits, atol=1e-5) and not torch.allclose(before.image, x, atol=1e-2)
    same = {name: torch.equal(value, copy.state_dict()[name]) for name, value in model.state_dict().items()}
    inside = [name for name in same if any(f"conv{i}.weight" in name for i in range(1, 6)) or "sca" in name]
    assert inside and not any(same[name] for name in inside if "conv3.bias" not in name and "conv5.bias" not in name)
    outside = ("intro", "downs", "ups", "ending", "mlp_branch")
    assert all(same[name] for name in same if "norm" in name or name.startswith(outside))
    spatial = compare_layers({"a": layers(model), "b": layers(copy)}, [("a", "b")]).query("layer.str.endswith('conv2')")
    assert len(spatial) == 6 and spatial.value.abs().max() < 0.8


def test_every_comparison_has_the_pairs_that_it_names(table):
    pairs = {
        name: {tuple(pair) for pair in here[["first", "second"]].to_numpy()}
        for name, here in table.groupby("comparison")
    }
    assert set(pairs) == set(similarity_controls.COMPARISONS)
    blurs = {("GoPro-syn", "DPDD-syn"), ("GoPro-syn", "LOLBlur-syn"), ("DPDD-syn", "LOLBlur-syn")}
    assert (
        pairs[similarity_controls.BLURS]
        == pairs[similarity_controls.START_OUT]
        == pairs[similarity_controls.START_ALONE]
        == blurs
    )
    assert pairs[similarity_controls.LOW_LIGHT] == {
        (name, "LOLv2-real") for name in ("GoPro-syn", "DPDD-syn", "LOLBlur-syn")
    }
    assert pairs[similarity_controls.SAME] == {(name, f"{name}, second start") for name in ("GoPro-syn", "DPDD-syn")}
    assert (
        len(pairs[similarity_controls.OTHER]) == 4
        and not pairs[similarity_controls.OTHER] & pairs[similarity_controls.SAME]
    )
    assert len(pairs[similarity_controls.UNTRAINED]) == 4 and len(pairs[similarity_controls.RENAMED]) == 3


def test_the_controls_tell_a_shared_start_from_a_shared_task(table):
    """Weights pushed in unrelated directions: alike through their start alone, to the amount that it predicts."""
    mean = (
        similarity_controls.summarise_similarity(table)
        .query("measure == 'pearson'")
        .set_index(["comparison", "kind"])["mean"]
    )
    for kind in ("1x1 convolution", "SCA"):
        assert mean[similarity_controls.BLURS, kind] > 0.65  # cos^2 of the angle whose tangent is 0.5 is 0.8
        assert mean[similarity_controls.BLURS, kind] == pytest.approx(
            mean[similarity_controls.START_ALONE, kind], abs=0.1
        )
        for comparison in (similarity_controls.START_OUT, similarity_controls.SAME, similarity_controls.OTHER):
            assert abs(mean[comparison, kind]) < 0.2, comparison
    assert np.isnan(mean[similarity_controls.UNTRAINED, "LayerNorm"]) and np.isnan(
        mean[similarity_controls.START_ALONE, "LayerNorm"]
    )


def test_the_summary_counts_what_it_averages(table):
    summary = similarity_controls.summarise_similarity(table)
    row = summary.query("measure == 'pearson' and comparison == @similarity_controls.UNTRAINED").set_index("kind")
    assert row.pairs.eq(4).all() and row.layers["SCA"] == 4 * 5
    assert row.constant["LayerNorm"] == 4 * 10 and row.constant["3x3 convolution"] == 4  # the last one starts at zero
    here = table.query("measure == 'cka rbf' and comparison == @similarity_controls.SAME and kind == 'SCA'").value
    found = summary.query("measure == 'cka rbf' and comparison == @similarity_controls.SAME and kind == 'SCA'").iloc[0]
    assert found["mean"] == pytest.approx(here.mean()) and found.high == pytest.approx((here > 0.7).mean())
    assert found.lowest <= found["mean"] <= found.highest and set(summary.kind) == set(KINDS)


def test_every_figure_has_its_rows_and_every_filter_is_counted_once(table):
    parts = similarity_controls.by_figure(table)
    pearson, light, cka, pairs = (parts[name] for name in ("figures_2_and_7", "figure_8", "figure_9", "pairs"))
    assert set(pearson.measure) == set(light.measure) == {"pearson"} and set(cka.measure) == {"cka rbf", "cka linear"}
    assert "LOLv2-real" not in {*pearson["second"], *cka["second"]} and set(light["second"]) == {"LOLv2-real"}
    row = pairs.query("measure == 'pearson' and comparison == @similarity_controls.LOW_LIGHT and kind == 'SCA'").iloc[0]
    values = light[(light["first"] == row["first"]) & (light.kind == "SCA")].value
    assert row.layers == len(values) and row["mean"] == pytest.approx(values.mean())
    constant, compared = similarity_controls.left_out(table)
    once = table[(table.measure == "cka rbf")]
    assert compared == sum(layer.weights.shape[0] for layer in layers(untrained(0))) * len(
        once.groupby(["first", "second"])
    )
    assert 0 < constant < compared


def test_other_weights_are_seen_in_the_picture():
    model = shake(NAFNet(SMALL))
    assert similarity_controls.restores_alike(model, similarity_controls.reordered(model, 1))
    assert not similarity_controls.restores_alike(model, shake(NAFNet(SMALL), 1))
