"""Pearson and CKA of weights: against independent formulations, their laws, and copies with values known beforehand."""

import copy

import numpy as np
import pytest
import torch
from conftest import shake
from scipy.stats import ortho_group, pearsonr

from demoe.evaluation import weight_similarity
from demoe.evaluation.weight_similarity import cka, compare_layers, expert_layers, layers, pearson
from demoe.models import checkpoints
from demoe.models.demoe import DeMoE, DeMoEConfig
from demoe.models.nafnet import NAFNet, NAFNetConfig

SMALL = NAFNetConfig(6, (1, 2), 2, (2, 1))


def test_filters_are_counted_by_kind_of_layer():
    model = NAFNet(NAFNetConfig(4, (1,), 0, (1,)))
    found = weight_similarity.counts(model)
    kernels = [
        weight.shape for name, weight in model.state_dict().items() if name.endswith("weight") and weight.ndim == 4
    ]
    spatial = [shape for shape in kernels if shape[-1] == 3]
    row = found.loc["3x3 convolution"]
    assert [row.layers, row.filters] == [len(spatial), sum(shape[0] for shape in spatial)]
    assert [row["numbers a filter: min"], row["max"]] == [9, 36]  # depth-wise, and the last: 3 x 3 x 4
    assert found.loc["LayerNorm"].tolist() == [4, 4, 4, 4] and found.filters.sum() > row.filters


def trained(seed: int = 0) -> NAFNet:
    """A network in which no layer is constant."""
    torch.manual_seed(seed)
    model = shake(NAFNet(SMALL), seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name and name.endswith("weight"):
                parameter.add_(0.1 * torch.randn(parameter.shape))
    return model


def plain_cka(x: np.ndarray, y: np.ndarray, kernel: str, fraction: float) -> float:
    """Equations 5 and 6 to the letter: kernels by loops, the centring matrix, traces."""
    n = len(x)
    centring = np.eye(n) - np.ones((n, n)) / n

    def kernel_matrix(z):
        distance = np.array([[np.sqrt(sum((p - q) ** 2 for p, q in zip(a, b, strict=True))) for b in z] for a in z])
        sigma = fraction * np.median(distance[~np.eye(n, dtype=bool)])
        inner = np.array([[sum(p * q for p, q in zip(a, b, strict=True)) for b in z] for a in z])
        return inner if kernel == "linear" else np.exp(-(distance**2) / (2 * sigma**2))

    def hsic(k, other):
        return np.trace(k @ centring @ other @ centring) / (n - 1)

    k, other = kernel_matrix(x), kernel_matrix(y)
    return hsic(k, other) / np.sqrt(hsic(k, k) * hsic(other, other))


def test_pearson_and_cka_of_saved_weights_agree_with_independent_formulations(tmp_path):
    first, second = (checkpoints.load(checkpoints.save(trained(i), tmp_path / f"{i}.safetensors")) for i in (0, 1))
    second.load_state_dict({k: 0.6 * v + 0.4 * second.state_dict()[k] for k, v in first.state_dict().items()})
    networks = {"a": layers(first), "b": layers(second)}
    found = {m: compare_layers(networks, [("a", "b")], m).set_index("layer") for m in weight_similarity.MEASURES}
    weights = [{k: v.double().numpy() for k, v in model.state_dict().items()} for model in (first, second)]
    for name, row in found["pearson"].iterrows():
        a, b = (w[f"{name}.weight"] for w in weights)
        if row.kind == "LayerNorm":
            expected, x, y = pearsonr(a, b).statistic, a[:, None], b[:, None]
        else:
            x, y = a.reshape(len(a), -1), b.reshape(len(b), -1)
            expected = np.mean([pearsonr(p, q).statistic for p, q in zip(x, y, strict=True)])
        assert abs(row.value - expected) < 1e-12 and row.excluded == 0, name
        if len(x) <= 24:
            assert abs(found["cka rbf"].value[name] - plain_cka(x, y, "rbf", weight_similarity.FRACTION)) < 1e-9, name
            assert abs(found["cka linear"].value[name] - plain_cka(x, y, "linear", 1)) < 1e-9, name


def test_layers_come_in_the_order_of_the_picture_and_in_the_papers_kinds():
    model = trained()
    seen = []
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Conv2d | weight_similarity.LayerNorm2d):
            module.register_forward_hook(lambda *_, name=name: seen.append(name))
    with torch.no_grad():
        model(torch.rand(1, 3, 16, 12))
    found = layers(model)
    assert [layer.name for layer in found] == seen
    blocks = 1 + 2 + 2 + 2 + 1
    counts = {
        kind: sum(layer.kind == kind for layer in found) for kind in (*weight_similarity.KINDS, "2x2 convolution")
    }
    assert counts == {
        "3x3 convolution": blocks + 2,
        "1x1 convolution": 4 * blocks + 2,
        "LayerNorm": 2 * blocks,
        "SCA": blocks,
        "2x2 convolution": 2,
    }
    levels = list(dict.fromkeys(layer.level for layer in found))
    assert levels == ["intro", "encoder 1", "encoder 2", "middle", "decoder 2", "decoder 1", "ending"]
    shapes = {layer.name: layer.weights.shape for layer in found}
    assert shapes["encoders.0.0.conv2"] == (12, 9) and shapes["intro"] == (6, 27) and shapes["ending"] == (3, 54)
    assert shapes["encoders.0.0.norm1"] == (1, 6) and shapes["encoders.0.0.conv3"] == (6, 6)


def test_a_network_is_like_itself_and_similarity_is_symmetric():
    networks = {"a": layers(trained(0)), "b": layers(trained(1))}
    for measure in weight_similarity.MEASURES:
        assert np.allclose(compare_layers(networks, [("a", "a")], measure).value, 1, atol=1e-12)
        there, back = (compare_layers(networks, [pair], measure).value for pair in (("a", "b"), ("b", "a")))
        assert np.allclose(there, back, atol=1e-14) and there.between(-1, 1).all()


@pytest.mark.parametrize("kernel", ["rbf", "linear"])
def test_cka_is_invariant_to_rotation_and_scaling_but_not_to_the_order_of_examples(kernel):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(20, 7)), rng.normal(size=(20, 5))
    value = cka(x, y, kernel)
    rotated = x @ ortho_group.rvs(7, random_state=0)
    assert cka(x, rotated, kernel) == pytest.approx(1, abs=1e-12)
    assert cka(1e-7 * rotated, 300 * y, kernel) == pytest.approx(value, abs=1e-12)
    assert cka(x + 5, y, kernel) == pytest.approx(value, abs=1e-9)
    assert cka(x, x[::-1], kernel) < 0.9 and 0 <= value < 0.9


def test_unrelated_wide_matrices_already_look_alike_to_the_rbf_kernel():
    """Why the notebook needs controls: with many numbers an example, CKA of noise with noise is near one."""
    rng = np.random.default_rng(1)
    assert cka(rng.normal(size=(64, 512)), rng.normal(size=(64, 512))) > 0.9
    assert cka(rng.normal(size=(512, 2)), rng.normal(size=(512, 2))) < 0.1


def test_scaled_copies_of_a_network():
    model = trained()
    factors = {"a": 3.0, "b": -0.01}
    copies = {name: copy.deepcopy(model) for name in factors}
    with torch.no_grad():
        for name, factor in factors.items():
            for parameter in copies[name].parameters():
                parameter.mul_(factor)
    networks = {"0": layers(model)} | {name: layers(one) for name, one in copies.items()}
    assert np.allclose(compare_layers(networks, [("0", "a")]).value, 1, atol=1e-6)
    assert np.allclose(compare_layers(networks, [("0", "b")]).value, -1, atol=1e-6)
    for measure in ("cka rbf", "cka linear"):
        assert np.allclose(compare_layers(networks, [("0", "a"), ("0", "b")], measure).value, 1, atol=1e-6)


def test_permuted_copies_of_a_network():
    """One-hot filters of p numbers: a copy with all of them moved on by one place correlates at -1/(p - 1) exactly."""
    model = trained()
    moved = copy.deepcopy(model)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("weight") and parameter.ndim == 4:
                flat = torch.zeros(parameter.shape).flatten(1)
                flat[torch.arange(len(flat)), torch.arange(len(flat)) % flat.shape[1]] = 1
                parameter.copy_(flat.view(parameter.shape))
                moved.get_parameter(name).copy_(flat.roll(1, dims=1).view(parameter.shape))
    table = compare_layers({"a": layers(model), "b": layers(moved)}, [("a", "b")])
    sizes = {layer.name: layer.weights.shape[1] for layer in layers(model)}
    table = table[table.kind != "LayerNorm"]
    assert np.allclose(table.value, [-1 / (sizes[name] - 1) for name in table.layer], atol=1e-12)
    # Moving places is a rotation of the space that the filters are in: to CKA nothing happened.
    alike = compare_layers({"a": layers(model), "b": layers(moved)}, [("a", "b")], "cka rbf")
    assert np.allclose(alike.value[alike.kind != "LayerNorm"], 1, atol=1e-12)


def test_a_known_share_of_new_direction_gives_a_known_correlation():
    rng = np.random.default_rng(2)
    start = rng.normal(size=(30, 40))
    q = np.linalg.qr(
        np.concatenate([np.ones((30, 1, 40)), start[:, None], rng.normal(size=(30, 3, 40))], 1).transpose(0, 2, 1)
    )[0]  # (30, 40, 5): constant, start, three directions at right angles to both
    s, u, v, w = (q[:, :, i] for i in (1, 2, 3, 4))
    a, b = 2 * s + 0.5 * u + 0.5 * v + 7, 3 * s + 0.75 * u - 1.5 * w
    r = (2 * 3 + 0.5 * 0.75) / np.sqrt((4 + 0.5) * (9 + 0.75**2 + 1.5**2))
    assert pearson(a, b).value == pytest.approx(r, abs=1e-12)
    partial = 0.5 * 0.75 / np.sqrt(0.5 * (0.75**2 + 1.5**2))  # with the start taken out, by hand
    assert pearson(a, b, given=s).value == pytest.approx(partial, abs=1e-12)
    r_as, r_bs = pearson(a, s).value, pearson(b, s).value  # and by the textbook's formula for partial correlation
    assert (r - r_as * r_bs) / np.sqrt((1 - r_as**2) * (1 - r_bs**2)) == pytest.approx(partial, abs=1e-12)


def test_constant_filters_are_excluded_and_counted_never_nan():
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=(6, 9)), rng.normal(size=(6, 9))
    a[1], b[1], a[4] = 0, 0, 0.1  # 0.1 is no round number in binary: its mean may differ from it in the last place
    found = pearson(a, b)
    rest = [pearsonr(a[i], b[i]).statistic for i in (0, 2, 3, 5)]
    assert found.value == pytest.approx(np.mean(rest), abs=1e-12) and found[1:] == (6, 2)
    assert np.allclose(pearson(a, b, given=np.ones_like(a)), found, atol=1e-12)  # a constant start takes nothing away
    assert pearson(a, b, given=a).excluded == 6  # nothing is left of a when a itself is taken away
    assert np.isnan(pearson(np.ones((2, 3)), b[:2, :3]).value) and pearson(np.ones((2, 3)), b[:2, :3]).excluded == 2
    assert 0 <= cka(a, b) <= 1 and np.isnan(cka(np.full((6, 9), 0.1), b))
    assert 0 <= cka(np.repeat(a[:2], 3, axis=0), b) <= 1  # most distances are zero: the bandwidth must not be


def test_an_untrained_networks_constant_layers_have_no_value_and_say_why():
    torch.manual_seed(0)
    networks = {"untrained": layers(NAFNet(SMALL)), "trained": layers(trained())}
    for measure in weight_similarity.MEASURES:
        table = compare_layers(networks, [("untrained", "trained")], measure)
        empty = table.value.isna()
        assert set(table.kind[empty]) == {"LayerNorm", "3x3 convolution"} and "ending" in set(table.layer[empty])
        assert (empty == (table.excluded == table.filters)).all() and empty.sum() == 2 * 8 + 1


def test_experts_of_the_same_place_are_compared():
    torch.manual_seed(0)
    model = shake(DeMoE(DeMoEConfig(4, (1, 1), 1, (1, 1))))
    model.experts[0].experts[1].load_state_dict(model.experts[0].experts[0].state_dict())
    experts = {str(i): expert_layers(model, i) for i in range(5)}
    assert list(dict.fromkeys(layer.level for layer in experts["3"])) == ["middle", "decoder 2", "decoder 1"]
    pairs = weight_similarity.all_pairs(experts)
    assert len(pairs) == 10 and pairs[0] == ("0", "1")
    table = compare_layers(experts, pairs).dropna()
    same = (table["first"] == "0") & (table["second"] == "1") & (table.level == "middle")
    assert np.allclose(table.value[same], 1) and table.value[~same].abs().max() < 0.99


def test_rows_come_pair_by_pair_and_other_architectures_are_refused():
    networks = {"a": layers(trained(0)), "b": layers(trained(1)), "c": layers(NAFNet(NAFNetConfig(6, (1,), 1, (1,))))}
    table = compare_layers(networks, [("b", "a"), ("a", "a")])
    count = len(networks["a"])
    assert list(table["first"]) == ["b"] * count + ["a"] * count
    assert list(table.layer[:count]) == [layer.name for layer in networks["a"]]
    with pytest.raises(ValueError, match="b and c have different layers"):
        compare_layers(networks, [("b", "c")])
    with pytest.raises(ValueError, match="unknown measure 'kendall': choose one of pearson, cka rbf, cka linear"):
        compare_layers(networks, [("a", "b")], "kendall")
    with pytest.raises(ValueError, match="of one shape"):
        pearson(np.ones((2, 3)), np.ones((2, 4)))
    with pytest.raises(ValueError, match="the same examples twice: there are 2 and 3"):
        cka(np.ones((2, 3)), np.ones((3, 3)))
    with pytest.raises(ValueError, match="unknown kernel 'sigmoid'"):
        cka(np.eye(3), np.eye(3), "sigmoid")
