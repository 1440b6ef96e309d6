"""Feature matching losses against a slow formulation, what they leave alone, and an adapter that learns to order."""

import copy
import math

import numpy as np
import open_clip
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from demoe.core.provenance import code_hash
from demoe.data.batches import Batch
from demoe.models import checkpoints
from demoe.models.outputs import Restored
from demoe.related import features, matching, terms
from demoe.related.matching import FeatureMatchingLoss, TripletAdapter, matched, train_adapter
from demoe.related.networks.shared import Stages
from demoe.related.triplets import Triplet

SIZE, TOKENS, WIDTH = 28, 5, 16  # of the small transformer: two by two patches of 14 pixels and the first token


@pytest.fixture
def vit():
    torch.manual_seed(0)
    network = features._transformer(img_size=28, patch_size=14, embed_dim=WIDTH, depth=5, num_heads=2)
    for parameter in network.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return features.FrozenViT(network, "tiny", features.CLIP)


@pytest.fixture
def adapter():
    torch.manual_seed(1)
    made = TripletAdapter(TOKENS * WIDTH, 6)
    made(torch.randn(8, TOKENS * WIDTH) + 1)  # statistics of its own
    return made


@pytest.fixture
def clip():
    """All tensors of a whole CLIP by their names in OpenAI's files; the transformer has two heads."""
    torch.manual_seed(2)
    sizes = {"image_size": SIZE, "layers": 5, "width": WIDTH, "head_width": 8, "patch_size": 14}
    text = {"context_length": 4, "vocab_size": 5, "width": 8, "heads": 1, "layers": 1}
    state = open_clip.model.CLIP(8, sizes, text, quick_gelu=True).state_dict()
    return {key: value + 0.1 * torch.randn_like(value) for key, value in state.items()}


def slow_tokens(clip, picture, normalize):
    """What the fourth block of the CLIP has of one picture, (3, H, W), by its tensors alone: (1 + 4, WIDTH) float64."""
    state = {key.removeprefix("visual."): value.double() for key, value in clip.items() if key.startswith("visual.")}

    def norm(x, name):
        x = (x - x.mean(-1, keepdim=True)) / (x.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt()
        return x * state[f"{name}.weight"] + state[f"{name}.bias"]

    def linear(x, name):
        return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    x = F.interpolate(picture[None], (SIZE, SIZE), mode="bicubic", align_corners=False, antialias=False)[0]
    if normalize:
        x = (x - torch.tensor(features.CLIP[0]).view(3, 1, 1)) / torch.tensor(features.CLIP[1]).view(3, 1, 1)
    patches = [x[:, top : top + 14, left : left + 14].flatten() for top in (0, 14) for left in (0, 14)]
    tokens = [state["class_embedding"], *(state["conv1.weight"].flatten(1) @ patch for patch in patches)]
    x = norm(torch.stack(tokens) + state["positional_embedding"], "ln_pre")
    for block in (f"transformer.resblocks.{number}" for number in range(4)):
        y = norm(x, f"{block}.ln_1") @ state[f"{block}.attn.in_proj_weight"].T + state[f"{block}.attn.in_proj_bias"]
        heads = []
        for part in (slice(0, 8), slice(8, 16)):
            query, key, value = (side[:, part] for side in y.split(WIDTH, -1))
            heads.append((query @ key.T / 8**0.5).softmax(-1) @ value)
        x = x + linear(torch.cat(heads, -1), f"{block}.attn.out_proj")
        y = linear(norm(x, f"{block}.ln_2"), f"{block}.mlp.c_fc")
        x = x + linear(y * (1.702 * y).sigmoid(), f"{block}.mlp.c_proj")  # QuickGELU
    return x


def slow(clip, adapter, restored, sharp, normalize):
    """Picture by picture, layer by layer, in float64; without an adapter FMLC."""
    total, count = 0.0, 0
    for pair in zip(restored.double(), sharp.double(), strict=True):
        found = []
        for picture in pair:
            y = slow_tokens(clip, picture, normalize).flatten()
            if adapter is not None:
                state = {key: value.double() for key, value in adapter.state_dict().items()}
                for layer in (0, 3):
                    y = state[f"{layer}.weight"] @ y + state[f"{layer}.bias"]
                    norm = layer + 1
                    y = (y - state[f"{norm}.running_mean"]) / (state[f"{norm}.running_var"] + 1e-5).sqrt()
                    y = (y * state[f"{norm}.weight"] + state[f"{norm}.bias"]).clamp(min=0)
                y = state["6.weight"] @ y + state["6.bias"]
            found.append(y)
        total, count = total + (found[0] - found[1]).square().sum(), count + len(found[0])
    return total / count


@pytest.mark.parametrize("preset", ["paper", "code"])
@pytest.mark.parametrize("adapted", [False, True], ids=["FMLC", "TFMLC"])
def test_the_losses_are_those_of_a_slow_formulation(clip, adapter, adapted, preset):
    restored, sharp = torch.rand(2, 3, 20, 40, requires_grad=True), torch.rand(2, 3, 20, 40)
    adapter = adapter if adapted else None
    vit = features.load_clip_vision(clip, heads=2)
    loss = FeatureMatchingLoss(vit, adapter=adapter, preset=preset, size=SIZE)
    value, wanted = loss(restored, sharp), slow(clip, adapter, restored, sharp, preset == "paper")
    torch.testing.assert_close(value.double(), wanted, rtol=1e-5, atol=0)
    mine, theirs = (torch.autograd.grad(one, restored)[0] for one in (value, wanted))
    torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-5 * float(theirs.abs().max()))


def test_without_an_adapter_it_compares_tokens(vit):
    x, y = torch.rand(2, 2, 3, SIZE, SIZE)
    (mine,), (theirs,) = vit(x, (3,)), vit(y, (3,))
    pooled = {"flatten": (mine, theirs), "cls": (mine[:, 0], theirs[:, 0])}
    pooled["mean"] = (mine[:, 1:].mean(1), theirs[:, 1:].mean(1))
    for pool, sides in pooled.items():
        loss = FeatureMatchingLoss(vit, pool=pool, size=SIZE)
        torch.testing.assert_close(loss(x, y), F.mse_loss(*sides), rtol=1e-5, atol=0)
        assert loss.features(x).shape == (2, sides[0].flatten(1).shape[1])
    first = FeatureMatchingLoss(vit, block=0, size=SIZE)
    torch.testing.assert_close(first(x, y), F.mse_loss(vit(x, (0,))[0], vit(y, (0,))[0]), rtol=1e-5, atol=0)


def test_laws(vit, adapter):
    kept = copy.deepcopy(adapter.state_dict())
    loss = FeatureMatchingLoss(vit, adapter=adapter, size=SIZE)
    loss.train()
    assert not adapter.training and not vit.training and not any(p.requires_grad for p in loss.parameters())
    x, y = torch.rand(2, 3, 32, 24, requires_grad=True), torch.rand(2, 3, 32, 24, requires_grad=True)
    value = loss(x, y)
    value.backward()
    assert x.grad.abs().min() >= 0 and x.grad.any() and y.grad is None
    assert all(p.grad is None for p in loss.parameters())
    assert all(torch.equal(kept[key], found) for key, found in adapter.state_dict().items())  # statistics, too
    torch.testing.assert_close(loss(torch.cat((x, x)), torch.cat((y, y))), value, rtol=1e-5, atol=0)
    same = x.detach().requires_grad_()
    assert loss(same, same.detach()) == 0
    (gradient,) = torch.autograd.grad(loss(same, same.detach()), same)
    assert gradient.isfinite().all()
    assert loss.features(torch.rand(1, 3, 256, 256)).shape == loss.features(torch.rand(1, 3, 512, 512)).shape == (1, 6)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(loss(x, y), value, rtol=1e-6, atol=0)


def test_half_precision_is_a_copy(vit):
    loss, x, y = FeatureMatchingLoss(vit, half=True, size=SIZE), *torch.rand(2, 1, 3, SIZE, SIZE)
    assert next(vit.parameters()).dtype == torch.float32 and next(loss.vit.parameters()).dtype == torch.float16
    value = loss(x, y)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, FeatureMatchingLoss(vit, size=SIZE)(x, y), rtol=0.02, atol=0)


def test_what_does_not_fit_is_refused(vit, adapter):
    with pytest.raises(ValueError, match="unknown 'max': choose one of flatten, mean, cls"):
        FeatureMatchingLoss(vit, pool="max")
    with pytest.raises(ValueError, match="unknown 'release': choose one of paper, code"):
        FeatureMatchingLoss(vit, preset="release")
    with pytest.raises(ValueError, match=r"TripletAdapter of 16 features is wanted, not AdapterConfig\(in_features=80"):
        FeatureMatchingLoss(vit, adapter=adapter, pool="mean", size=SIZE)
    with pytest.raises(ValueError, match="are not among the blocks 0 to 4 of tiny"):
        FeatureMatchingLoss(vit, block=5, size=SIZE)(*torch.rand(2, 1, 3, SIZE, SIZE))
    with pytest.raises(ValueError, match="TripletAdapter of 80 features is wanted, not Linear"):
        FeatureMatchingLoss(vit, adapter=nn.Linear(80, 2), size=SIZE)


def test_an_adapter_is_kept_and_read(adapter, tmp_path):
    path, x = checkpoints.save(adapter, tmp_path / "adapter.safetensors"), torch.randn(3, TOKENS * WIDTH)
    found = checkpoints.load(path, guest=TripletAdapter)
    assert not found.training and torch.equal(found(x), adapter.eval()(x))


def test_parameters_to_the_digit():
    with torch.device("meta"):
        paper = TripletAdapter(197 * 768)
        assert sum(p.numel() for p in paper.parameters()) == 157_031_424
        assert [type(layer).__name__ for layer in paper] == [*["Linear", "BatchNorm1d", "ReLU"] * 2, "Linear"]


def test_the_last_feature_of_a_clip(tmp_path, monkeypatch):
    """Of open_clip, without its text half, which is not in the loss."""
    torch.manual_seed(0)
    sizes = {"image_size": 28, "layers": 1, "width": 16, "head_width": 8, "patch_size": 14}
    text = {"context_length": 4, "vocab_size": 5, "width": 8, "heads": 1, "layers": 1}
    whole = open_clip.model.CLIP(8, sizes, text, quick_gelu=True)
    torch.save(whole.state_dict(), tmp_path / "clip.pt")
    asked = []
    fresh = open_clip.model.CLIP(8, sizes, text, quick_gelu=True)
    monkeypatch.setattr(open_clip, "create_model", lambda name, load_weights: asked.append(name) or fresh)
    network = matching.clip_embedding("RN50", tmp_path / "clip.pt")
    x, y = torch.rand(2, 2, 3, 28, 28)
    wanted = F.mse_loss(*(whole.eval().visual((one - network.mean) / network.std) for one in (x, y)))
    torch.testing.assert_close(FeatureMatchingLoss(network, None, size=28)(x, y), wanted)
    assert asked == ["RN50-quickgelu"] and network.label == "clip" and not network.training
    for model in terms.TABLE_2.values():
        assert open_clip.get_model_config(f"{model}-quickgelu")["quick_gelu"]


def blurs(count, videos=4, size=32, seed=0):
    """Triplets of patterns that fade; a few of each video. No blur: a transformer of random weights tells these."""
    generator, found = torch.Generator().manual_seed(seed), []
    for number in range(count):
        pattern = F.interpolate(torch.rand(1, 3, 4, 4, generator=generator) - 0.5, (size, size), mode="bicubic")
        faded = [(0.5 + contrast * pattern[0]).clamp(0, 1).permute(1, 2, 0) for contrast in (1.0, 0.6, 0.1)]
        pictures = [(one * 255).byte().numpy() for one in faded]
        found.append(Triplet(0, 15, 7, *pictures, f"video {number % videos}"))
    return found


def trained(vit, steps, seed=0, **options):
    torch.manual_seed(seed)
    adapter = TripletAdapter(TOKENS * WIDTH, 8)
    options = {"size": SIZE, "batch": 8, "learning_rate": 3e-3} | options
    return adapter, train_adapter(adapter, vit, blurs(24), steps, torch.Generator().manual_seed(seed), **options)


def test_an_adapter_learns_to_order_held_out_videos(vit):
    adapter, history = trained(vit, 45, held_out=0.25)
    assert history.step.tolist()[:3] == [0, 3, 6] and history.step.iloc[-1] == 45  # 18 triplets, 8 a step
    assert history.validation.min() < 0.5 * history.validation[0] and history.ordered.iloc[-1] > 0.9
    assert not adapter.training and math.isnan(history.train[0])
    again, same = trained(vit, 45, held_out=0.25)
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in adapter.state_dict().items())
    assert history.equals(same)


def test_validation_is_a_slow_triplet_loss(vit):
    """Before training: of the same crops, distances written out, one triplet at a time."""
    torch.manual_seed(0)
    adapter = TripletAdapter(TOKENS * WIDTH, 8).eval()
    generator = torch.Generator().manual_seed(0)
    _, held = matching._split(blurs(24), 0.1, True, generator)
    crops = matching._crops(held, SIZE, torch.Generator().manual_seed(1), False)
    total = 0.0
    for sides in zip(*crops, strict=True):
        a, p, n = (adapter(matched(vit, side[None], 3, "flatten", size=SIZE))[0].double() for side in sides)
        near, far = (((a - one + 1e-6) ** 2).sum().item() ** 0.5 for one in (p, n))
        total += max(near - far + 1, 0)
    _, history = trained(vit, 0)
    assert history.validation[0] == pytest.approx(total / len(held), rel=1e-5) and len(history) == 1


def test_the_rate_falls_and_training_stops_where_nothing_is_gained(vit):
    _, history = trained(vit, 10_000, learning_rate=1e-9, patience=1, stop_after=4)
    assert len(history) < 60 and history.step.iloc[-1] < 10_000
    assert history.learning_rate.min() == pytest.approx(1e-9)  # never below 1e-8, where it began above
    best = history.validation[1:].idxmin()
    assert len(history) - 1 - best == 4
    _, history = trained(vit, 10_000, learning_rate=1e-4, patience=0, stop_after=3, held_out=0.25)
    assert history.learning_rate.iloc[-1] < 1e-4


def test_the_best_weights_are_kept(vit):
    adapter, history = trained(vit, 30, learning_rate=0.5)  # far too large: it goes up and down
    held = matching._split(blurs(24), 0.1, True, torch.Generator().manual_seed(0))[1]
    near, far = matching.distances(adapter, vit, held, size=SIZE)
    assert float((near - far + 1).clamp(min=0).mean()) == pytest.approx(history.validation[1:].min(), rel=1e-5)


def test_raw_features_are_the_control(vit):
    triplets = blurs(9)
    near, far = matching.distances(None, vit, triplets, size=SIZE)
    crops = matching._crops(triplets, SIZE, torch.Generator().manual_seed(1), False)
    sharp, weak, strong = (matched(vit, side, 3, "flatten", size=SIZE) for side in crops)
    torch.testing.assert_close(near, F.pairwise_distance(sharp, weak))
    torch.testing.assert_close(far, F.pairwise_distance(sharp, strong))
    assert near.shape == (9,) and (near < far).all()


def test_triplets_are_held_out_by_video_or_one_by_one():
    triplets = blurs(20)
    learn, held = matching._split(triplets, 0.1, True, torch.Generator().manual_seed(1))
    assert len(held) == 5 and len({one.video for one in held}) == 1 and len(learn) == 15
    assert not {one.video for one in held} & {one.video for one in learn}
    learn, held = matching._split(triplets, 0.1, False, torch.Generator().manual_seed(1))
    assert len(held) == 2 and len(learn) == 18
    for few, words in (([], "0 triplets of 0 videos"), (blurs(5, videos=1), "5 triplets of 1 videos are too few")):
        with pytest.raises(ValueError, match=words):
            matching._split(few, 0.1, True, torch.Generator())


def test_crops_of_a_triplet_go_together_unless_asked():
    picture = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    one = Triplet(0, 15, 7, picture, picture, picture)
    for independent in (False, True):
        sides = matching._crops([one] * 3, 32, torch.Generator().manual_seed(0), independent)
        assert all(side.shape == (3, 3, 32, 32) and side.min() >= 0 and side.max() <= 1 for side in sides)
        assert torch.equal(sides[0], sides[1]) != independent
        assert not torch.equal(sides[0][0], sides[0][1])
    with pytest.raises(ValueError, match="frames of 50x40 pixels are smaller than crops of 44"):
        matching._crops([one], 44, torch.Generator(), False)


def test_a_batch_of_one_is_refused(vit):
    with pytest.raises(ValueError, match="batches of two triplets on, not 1"):
        trained(vit, 5, batch=1)


def test_terms_sum_over_all_pictures(vit, adapter, monkeypatch, tmp_path):
    monkeypatch.setitem(terms.VITS, "random", terms.VITS["random"]._replace(make=lambda: vit))
    name = f"adapter-tiny-3-60-{code_hash('related', 'blur')}.safetensors"
    checkpoints.save(adapter, tmp_path / "demoe" / name)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(FeatureMatchingLoss.__init__, "__defaults__", (3, None, True, "flatten", "paper", False, SIZE))
    terms._vit.cache_clear()
    torch.manual_seed(0)
    network, known = nn.Conv2d(3, 3, 3, padding=1), terms.terms()
    batch = Batch(torch.rand(2, 3, 20, 20), torch.rand(2, 3, 20, 20), torch.arange(2))
    several = Stages(network(batch.blurred))
    several.pictures = [batch.blurred, several.image]
    for name in ("fmlc-random", "tfmlc-random", "stages-charbonnier", "stages-edge", "stages-psnr"):
        of_two = known[name](several, batch)
        one, other = (known[name](Restored(picture), batch) for picture in several.pictures)
        torch.testing.assert_close(of_two, one + other)
        (gradient,) = torch.autograd.grad(of_two, network.weight, retain_graph=True)
        assert of_two.dtype == torch.float32 and gradient.any()
    coarse = F.avg_pool2d(several.image, 2)  # is compared with the sharp picture of full size, not with a smaller one
    several.pictures = [coarse, several.image]
    loss = FeatureMatchingLoss(vit)
    weights = loss(coarse, batch.sharp) + loss(several.image, batch.sharp)
    torch.testing.assert_close(known["fmlc-random"](several, batch), weights)
    terms._vit.cache_clear()


def test_a_small_adapter_is_trained_once(vit, monkeypatch, tmp_path):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(matching, "SIZE", SIZE)
    monkeypatch.setattr(
        matching.train_adapter, "__kwdefaults__", matching.train_adapter.__kwdefaults__ | {"size": SIZE}
    )
    calls = []
    monkeypatch.setattr(matching, "synthetic_triplets", lambda: calls.append(1) or blurs(12))
    first, again = (matching.small_adapter(vit, 2) for _ in range(2))
    assert len(calls) == 1 and all(
        torch.equal(*pair) for pair in zip(first.parameters(), again.parameters(), strict=True)
    )
    assert FeatureMatchingLoss(vit, adapter=again, size=SIZE)(*torch.rand(2, 1, 3, SIZE, SIZE)) > 0
