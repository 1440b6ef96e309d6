import pytest
import torch
from conftest import shake

from benchmarks.counting import PUBLISHED, fingerprint
from benchmarks.inference import published
from benchmarks.plain import plain
from demoe.core.tasks import EXPERTS
from demoe.models.demoe import DeMoE, DeMoEConfig
from demoe.models.nafnet import NAFNet, NAFNetConfig

SIZES = ((32, 48), (37, 51))  # the second is no multiple of 16


def network(kind=DeMoE, config=None):
    torch.manual_seed(0)  # the same weights whatever ran before
    return shake(kind(config or (DeMoEConfig(width=4) if kind is DeMoE else NAFNetConfig(width=4, router=True))))


def near(a, b, tolerance=1e-5):
    return (a - b).norm() <= tolerance * b.norm()


@pytest.fixture
def random():
    return torch.Generator().manual_seed(1)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("k", range(1, 6))
def test_plain_demoe_is_ours(size, k, random):
    ours, x = network(), torch.rand(3, 3, *size, generator=random)
    with torch.no_grad():
        mine, theirs = ours(x, k=k), plain(ours)(x, k=k)
    assert near(theirs.image, mine.image) and near(theirs.logits, mine.logits)
    assert not near(x, mine.image, 1e-2)  # the network does something


@pytest.mark.parametrize("size", SIZES)
def test_plain_nafnet_is_ours_and_the_published_code_too(size, random):
    ours, x = network(NAFNet), torch.rand(2, 3, *size, generator=random)
    with torch.no_grad():
        assert all(near(*pair) for pair in zip(plain(ours)(x)[:2], ours(x)[:2], strict=True))
        bare = network(NAFNet, NAFNetConfig(width=4))
        if (public := published(bare)) is not None:
            assert near(plain(bare)(x).image, public(x), 1e-6)


def test_a_mixed_batch_gets_the_experts_named(random):
    ours, x = network(), torch.rand(8, 3, 32, 32, generator=random)
    with torch.no_grad():
        mixed = plain(ours)(x, expert=[i % 5 for i in range(8)]).image
        assert near(mixed, ours(x, expert=[EXPERTS[i % 5] for i in range(8)]).image)
        assert not near(mixed, plain(ours)(x, expert=[0] * 8).image, 1e-3)


@pytest.mark.parametrize("kind", (DeMoE, NAFNet))
def test_gradients_are_ours(kind, random):
    """In double precision: rounding must not change the sign of a ReLU's input, and with it the gradient."""
    ours, x = network(kind).double().train(), torch.rand(3, 3, 21, 30, generator=random).double()
    theirs, weight = plain(ours), torch.rand(3, 3, 21, 30, generator=random).double()
    for model in (ours, theirs):
        torch.manual_seed(0)  # dropout
        restored = model(x)
        ((restored.image * weight).sum() + restored.logits.square().sum()).backward()
    found = dict(theirs.named_parameters())
    assert found.keys() == dict(ours.named_parameters()).keys()
    largest = max(p.grad.norm() for p in ours.parameters())
    for name, parameter in ours.named_parameters():
        scale = max(parameter.grad.norm(), 1e-3 * largest)
        assert (found[name].grad - parameter.grad).norm() <= 1e-4 * scale, name


def test_variants_that_were_not_published_are_refused():
    with pytest.raises(ValueError, match="plain formulation"):
        plain(DeMoE(DeMoEConfig(width=4, fusion="residual")))


def test_operations_and_host_waits_are_nearly_those_of_the_published_code():
    table = fingerprint().set_index("what")
    assert list(table.index) == list(PUBLISHED)
    assert (table.bias_passes == table.published_bias_passes).all()
    assert (table.operations / table.published_operations).between(0.99, 1.02).all()
    assert table.loc["NAFNet, 1 image", "operations"] == 923  # exactly
    # Each of five MoEBlocks of the published code waits once more; what for is not known, and no work was invented.
    assert table.waits.tolist() == [0, 55, 175, 200]
    assert (table.published_waits - table.waits).tolist() == [0, 5, 5, 5]


def test_the_fingerprint_tells_formulations_apart():
    with_ours = fingerprint(make=Adapter).set_index("what")
    assert (with_ours.operations < 0.8 * with_ours.published_operations).all()
    looks = [2, 2, 2, 0]  # at the values of pictures, on a CPU alone and not in training
    assert (with_ours.waits - looks < 0.5 * with_ours.published_waits.clip(lower=1)).all()


class Adapter(torch.nn.Module):
    """Our network with the plain side's way to name experts."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x, expert=None):
        return self.model(x) if expert is None else self.model(x, expert=[EXPERTS[i] for i in expert])
