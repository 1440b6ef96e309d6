import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import shake

from demoe.blur import sensor, sources
from demoe.core.tasks import EXPERTS
from demoe.inference import guard
from demoe.inference import sharpness as how_sharp
from demoe.inference.guard import Guard
from demoe.inference.optimize import optimize
from demoe.inference.restore import restore
from demoe.models import checkpoints, pretrained
from demoe.models.demoe import DeMoE, DeMoEConfig
from demoe.models.nafnet import NAFNet, NAFNetConfig
from demoe.models.outputs import Restored
from demoe.models.tlc import local


def photographs() -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = {}
    for split in sources.SPLITS:
        found |= sources.photographs(split)
    return {name: F.interpolate(one[None], size=(144, 160), mode="area")[0] for name, one in found.items()}


def noisy(picture, level, seed=0):
    normal = torch.from_numpy(np.random.default_rng(seed).standard_normal(picture.shape, dtype=np.float32))
    return ((picture + level / 255 * normal).clamp(0, 1) * 255).round() / 255


def test_daylight_is_bright_and_the_dark_is_not():
    for split in sources.SPLITS:
        for name, picture in sources.photographs(split).items():
            assert guard.light(picture).bright, name
            dark = sensor.to_srgb(sensor.to_linear(picture) * 0.03)
            assert not guard.light(dark).bright, name
    black = torch.zeros(3, 40, 50)
    assert guard.light(black) == guard.Light(0.0, 0.0)
    assert guard.light(torch.ones(3, 1200, 1300)).mean == pytest.approx(255, abs=1e-3)


def weighed(picture, logits, **how):
    watch = Guard(picture, **how)
    weights = watch(torch.tensor([logits]))
    assert weights.sum() == pytest.approx(1)
    return {name: weight for name, weight in zip(EXPERTS, weights[0].tolist(), strict=True) if weight}, watch


BRIGHT, DARK = torch.full((3, 40, 50), 0.5), torch.full((3, 40, 50), 0.1)
DIM = [0.0, 1.0, 3.0, 2.0, 9.0]  # logits that name low light


def test_a_bright_picture_is_never_given_to_the_low_light_expert():
    assert weighed(DARK, DIM)[0] == {"low_light": 1} and weighed(DARK, DIM)[1].reason is None
    chosen, watch = weighed(BRIGHT, DIM)
    assert "low_light" not in chosen and watch.reason == "bright"
    assert torch.equal(watch.checked(BRIGHT * 1.5), BRIGHT) and "left as it is" in watch.sentence(torch.eye(5)[0])
    mixed, watch = weighed(BRIGHT, [9.0, 6, 0, 0, 8], k=3)
    assert set(mixed) == {"defocus", "global_motion"} and watch.reason is None
    assert mixed["defocus"] / mixed["global_motion"] == pytest.approx(np.e**3, rel=1e-4)
    plain, watch = weighed(BRIGHT, [9.0, 1, 2, 3, 4])
    assert plain == {"defocus": 1} and watch.reason is None and watch.sentence(torch.eye(5)[0]) == ""
    followed, watch = weighed(BRIGHT, DIM, k=None, shares=lambda logits: torch.tensor([[0.0, 0.6, 0, 0, 0.4]]))
    assert followed == {"global_motion": 1} and watch.reason is None


UNSURE = [1.0, 0.5, 0.2, 0.0, 2.0]  # logits whose first is low light


def test_where_the_router_is_unsure_all_experts_take_part_by_its_shares():
    share = dict(zip(EXPERTS, torch.tensor(UNSURE).softmax(0).tolist(), strict=True))
    mixed, watch = weighed(DARK, UNSURE)
    assert mixed == pytest.approx(share) and watch.reason == "unsure"
    assert watch.sentence(torch.full((5,), 0.2)).startswith("the router is unsure: all experts took part")
    assert torch.equal(watch.checked(DARK + 0.3), DARK + 0.3)
    without, watch = weighed(BRIGHT, UNSURE)  # though low light comes first, it takes no part
    rest = {name: one / (1 - share["low_light"]) for name, one in share.items() if name != "low_light"}
    assert without == pytest.approx(rest) and watch.reason == "unsure"
    assert "all but low_light took part" in watch.sentence(torch.tensor([0.25] * 4 + [0]))
    assert torch.equal(watch.checked(BRIGHT * 0.9), BRIGHT * 0.9)
    for k in (2, 3, 5, None):  # what a person asks for
        asked, watch = weighed(DARK, UNSURE, k=k)
        assert len(asked) == (k or 5) and watch.reason is None
    sure, watch = weighed(DARK, [9.0, 1, 2, 3, 4])
    assert sure == {"defocus": 1} and watch.reason is None
    with pytest.raises(ValueError, match="k must be between"):
        weighed(DARK, UNSURE, k=0)


def test_a_sharp_picture_is_left_where_the_router_is_unsure_of_local_motion(monkeypatch):
    monkeypatch.setattr(guard, "sharp", lambda picture: True)
    for logits in ([1.0, 0.5, 2.0, 0, 0.2], UNSURE):
        _, watch = weighed(BRIGHT, logits)
        assert watch.reason == "sharp" and watch.unsure and torch.equal(watch.checked(BRIGHT * 0.9), BRIGHT)


def test_that_the_router_was_unsure_is_known_whatever_the_reason():
    _, watch = weighed(BRIGHT, UNSURE)
    watch.checked(BRIGHT + 0.1)
    assert watch.reason == "brighter" and watch.unsure and not weighed(BRIGHT, DIM)[1].unsure


@pytest.mark.parametrize(("high", "alone", "after"), [(0.5, True, True), (0.75, False, True), (0.85, False, False)])
def test_in_a_video_what_was_unsure_is_so_until_it_is_clearly_sure(high, alone, after):
    shares = torch.tensor([[high] + [(1 - high) / 4] * 4])  # entropies of 0.86, 0.56 and 0.39 of 1
    for before, expected in ((guard.NOTHING, alone), (guard.Before(unsure=True), after)):
        watch = Guard(DARK, shares=lambda logits: shares, before=before)
        assert (watch(torch.zeros(1, 5)).count_nonzero() == 5) == expected == (watch.reason == "unsure")


def test_of_tiles_the_unsure_are_counted_and_are_none_of_low_light():
    watch = Guard(BRIGHT)
    vague, sure, low = torch.tensor(UNSURE).softmax(0), torch.eye(5)[1], torch.eye(5)[4]
    watch.look(torch.stack([torch.stack([vague, vague, vague]), torch.stack([sure, sure, sure])]))
    assert watch.reason == "unsure" and "unsure of 3 of 6 tiles" in watch.sentence(torch.full((5,), 0.2))
    watch.look(torch.stack([torch.stack([vague, sure, low])]))
    assert watch.reason == "tiles" and "1 of 3 tiles" in watch.sentence(torch.eye(5)[2])


def test_what_comes_out_brighter_though_it_was_bright_is_left_as_it_is():
    _, watch = weighed(BRIGHT, [9.0, 1, 2, 3, 4])
    assert torch.equal(watch.checked(BRIGHT + 0.01), BRIGHT + 0.01) and watch.reason is None
    assert torch.equal(watch.checked(BRIGHT + 0.1), BRIGHT) and watch.reason == "brighter"
    _, watch = weighed(DARK, DIM)
    assert torch.equal(watch.checked(DARK + 0.3), DARK + 0.3) and watch.reason is None


def test_with_blocks_that_training_had_not_the_router_is_not_asked(monkeypatch):
    monkeypatch.setattr(guard, "sharp", lambda picture: False)
    photo = sources.photographs("test")["chelsea"]
    coarse = sensor.jpeg(photo, 15)
    assert guard.blocks(coarse) > 1.3 > guard.blocks(photo)
    assert guard.blocks(coarse[:, 3:, 5:]) > 1.3  # wherever the grid lies
    even, watch = weighed(coarse, DIM, limit=1.3)
    assert even == pytest.approx(dict.fromkeys(EXPERTS[:4], 0.25)) and watch.reason == "blocks"
    told = watch.sentence(torch.tensor([1.0] * 4 + [0]))
    assert "defocus, global_motion, local_motion and synth_global_motion in equal parts" in told
    assert weighed(sensor.jpeg(photo * 0.2, 5), [9.0, 1, 2, 3, 4], limit=1.05)[0] == {"low_light": 1}
    assert weighed(photo, [9.0, 1, 2, 3, 4], limit=1.3)[0] == {"defocus": 1}


def test_noise_and_jpeg_do_not_make_a_blurred_picture_sharp_nor_a_sharp_one_blurred():
    photos = [one for split in sources.SPLITS for one in sources.photographs(split).values()]
    blurred = [torch.stack([how_sharp.gaussian(channel, 2.0) for channel in photo]) for photo in photos]
    for spoil in (lambda x: x, lambda x: noisy(x, 3), lambda x: noisy(x, 8), lambda x: sensor.jpeg(x, 60)):
        assert sum(guard.sharp(spoil(one)) for one in photos) >= 0.8 * len(photos)
        assert not any(guard.sharp(spoil(one)) for one in blurred)
    luma = guard.middle
    assert how_sharp.noise(luma(noisy(torch.full((3, 200, 200), 0.5), 8))) == pytest.approx(
        8 * (0.299**2 + 0.587**2 + 0.114**2) ** 0.5, rel=0.05
    )
    assert how_sharp.sharpness(torch.zeros(100, 100)) == how_sharp.sharpness(torch.rand(40, 300)) == 0
    assert how_sharp.sharpness(luma(torch.rand(3, 200, 200))) == 0  # noise alone is no detail


def test_a_sharp_picture_is_left_unless_the_router_sees_local_motion(monkeypatch):
    monkeypatch.setattr(guard, "sharp", lambda picture: True)
    _, watch = weighed(BRIGHT, [9.0, 1, 2, 3, 4])
    assert watch.alike and watch.reason == "sharp" and torch.equal(watch.checked(BRIGHT * 0.9), BRIGHT)
    assert "sharp already" in watch.sentence(torch.eye(5)[0])
    assert weighed(BRIGHT, DIM)[1].reason == "bright" and weighed(DARK, [9.0, 1, 2, 3, 4])[1].reason is None
    moved, watch = weighed(BRIGHT, [0.0, 1, 9, 3, 4])
    assert moved == {"local_motion": 1} and watch.reason is None


def test_in_a_video_what_was_bright_is_so_until_it_is_clearly_darker():
    mean = lambda level: torch.full((3, 40, 50), level / 255)  # noqa: E731
    for level, alone, after in ((60, True, True), (45, False, True), (35, False, False)):
        assert (
            Guard(mean(level)).bright == alone and Guard(mean(level), before=guard.Before(bright=True)).bright == after
        )


def test_with_one_decision_a_tile_a_few_dark_ones_are_spared_and_many_leave_it_all():
    watch = Guard(BRIGHT)
    assert watch(torch.tensor([DIM])).argmax() == EXPERTS.index("local_motion")
    router = torch.eye(5)[torch.tensor([[4, 0, 1], [1, 1, 2]])]
    watch.look(router)
    assert watch.reason == "tiles" and "takes 1 of 6 tiles for low light" in watch.sentence(torch.eye(5)[0])
    assert torch.equal(watch.checked(BRIGHT * 1.01), BRIGHT * 1.01)
    watch.look(torch.eye(5)[torch.tensor([[4, 4], [4, 1]])])
    assert watch.reason == "bright" and torch.equal(watch.checked(BRIGHT * 1.01), BRIGHT)
    dark = Guard(DARK)
    dark.look(router)
    assert dark.reason is None


def test_a_limit_belongs_to_the_weights_of_one_router(monkeypatch):
    model, other = (shake(DeMoE(DeMoEConfig(4, (1,), 1, (1,))), seed) for seed in (0, 1))
    assert guard.limit_of(model) is None and guard.limit_of(NAFNet(NAFNetConfig(4, (1,), 1, (1,)))) is None
    monkeypatch.setattr(guard, "_limits", lambda: {guard.router_hash(model.mlp_branch): 1.5})
    assert guard.limit_of(model) == guard.limit_of(optimize(model)) == 1.5 and guard.limit_of(other) is None


@pytest.mark.skipif(not pretrained.releases(), reason="no network comes with the package")
def test_the_packaged_network_has_a_limit_that_clean_pictures_stay_below():
    limit = guard.limit_of(checkpoints.load(pretrained.releases()[0].demoe))
    photos = [one for split in sources.SPLITS for one in sources.photographs(split).values()]
    assert limit is not None and sum(guard.blocks(one) < limit for one in photos) > 0.7 * len(photos)


def sure(model):
    """``model`` with a router that is sure of whatever it says."""
    with torch.no_grad():
        model.mlp_branch.classifier[-1].weight.mul_(1000)
    return model


def test_what_the_guard_lets_pass_is_what_it_was():
    picture = torch.stack([how_sharp.gaussian(channel, 2.0) for channel in photographs()["astronaut"]])
    assert not guard.sharp(picture)
    passed = 0
    for seed in range(8):
        torch.manual_seed(seed)
        model = sure(shake(DeMoE(DeMoEConfig(4, (1,), 1, (1,))), seed))
        plain, safe = restore(model, picture), guard.guarded(model, picture)
        brighter = float((plain.image - picture).mean()) * 255 > guard.BRIGHTER
        if plain.weights[guard.LOW_LIGHT] or brighter or (guard.sharp(picture) and not plain.weights[guard.LOCAL]):
            assert torch.equal(safe.image, picture)
        else:
            assert torch.allclose(plain.image, safe.image, atol=1e-6)
            passed += 1
    assert passed
    nafnet = shake(NAFNet(NAFNetConfig(4, (1,), 1, (1,))))
    assert torch.equal(guard.guarded(nafnet, picture).image, restore(nafnet, picture).image)


def test_networks_whose_experts_no_function_can_weigh_are_as_ever():
    """Those with local statistics, and what was optimized for a GPU, which keeps no network of its own."""
    picture, model = photographs()["astronaut"], shake(DeMoE(DeMoEConfig(4, (1,), 1, (1,))))
    fast = optimize(model)
    assert guard.guardable(model) and guard.guardable(fast)
    averaged_around = local(model, 32)
    assert torch.equal(guard.guarded(averaged_around, picture).image, restore(averaged_around, picture).image)
    fast.network = None
    assert not guard.guardable(fast)


@pytest.mark.skipif(not pretrained.releases(), reason="no network comes with the package")
@pytest.mark.parametrize("spoil", ["noise 0", "noise 3", "noise 8", "JPEG 60", "JPEG 80", "JPEG 95"])
def test_no_photograph_comes_out_white(spoil):
    """What the packaged network's router takes for low light: noise. Without the guard most would be brightened."""
    model = checkpoints.load(pretrained.releases()[0].demoe)
    kind, level = spoil.split()
    for name, picture in list(photographs().items())[:6]:
        given = sensor.jpeg(picture, int(level)) if kind == "JPEG" else noisy(picture, float(level))
        made = guard.guarded(model, given)
        assert 255 * float(made.image.mean() - given.mean()) < 8, name


@pytest.mark.parametrize("expert", EXPERTS)
def test_whichever_expert_the_router_takes_no_photograph_is_brightened(expert, monkeypatch):
    """Every expert here adds forty levels; the router always names the same one."""
    logits = 9 * torch.eye(5)[EXPERTS.index(expert)][None]

    def brightening(model, image, expert, k=1):
        return Restored((image + 40 / 255).clamp(0, 1), logits[0], expert(logits)[0])

    monkeypatch.setattr(guard, "restore", brightening)
    model = DeMoE(DeMoEConfig(4, (1,), 1, (1,)))
    for name, picture in photographs().items():
        for given in (picture, noisy(picture, 8), sensor.jpeg(picture, 60), sensor.jpeg(picture, 95)):
            made = guard.guarded(model, given).image
            assert 255 * float(made.mean() - given.mean()) <= guard.BRIGHTER, name
