"""What the deblurring networks of the related papers share: any size, pictures best last, the door to our training.

A network here gives a list of pictures, as its paper trains it. ``Restoring`` makes a network like any other of it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from demoe.data.batches import Batch
from demoe.models.layers import pad_to_multiple
from demoe.models.outputs import Restored
from demoe.training.losses import TermFunction


def named(**modules: nn.Module) -> nn.Sequential:
    """One module after the other, under the names that they have in their authors' code."""
    return nn.Sequential(OrderedDict(modules))


class Residual(nn.Sequential):
    """As ``named``, added to what goes in: shapes stay."""

    def __init__(self, **modules: nn.Module):
        super().__init__(OrderedDict(modules))

    def forward(self, x: Tensor) -> Tensor:
        return x + super().forward(x)


class Fusion(nn.Module):
    """Where decoder and encoder meet: their sum, or the decoder's features alone; (B, C, H, W) all of them.

    It has no parameters. ``level`` counts the semantic priors, 0 the finest: the one that belongs here, should
    ``related.prior.with_prior`` put it in.
    """

    def __init__(self, channels: int, level: int):
        super().__init__()
        self.channels, self.level = channels, level

    def forward(self, decoder: Tensor, encoder: Tensor | None = None) -> Tensor:
        return decoder if encoder is None else decoder + encoder


class Network(nn.Module):
    """A deblurring network that restores at one or several sizes or stages.

    A subclass says ``multiple``, of which its sides must be, computes ``stages`` of a picture that has such sides, and
    lists in ``fusions`` the places where a prior may enter, in the order of use.
    """

    multiple: int
    fusions: nn.ModuleList

    def stages(self, x: Tensor) -> list[Tensor]:
        """The restored pictures of (B, 3, H, W), sides multiples of ``multiple``; the best, of full size, is last."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> list[Tensor]:
        """Of (B, 3, H, W) in [0, 1], any H, W >= 1, the restored pictures, not clamped; the best is last.

        A coarse one has 1/f of the size, rounded up. Zeros are padded and cropped. Raises ``ValueError`` for anything
        but a batch of RGB pictures.
        """
        if x.ndim != 4 or x.shape[1] != 3 or not x.numel():
            raise ValueError(f"a batch of RGB pictures, (B, 3, H, W), is wanted, not {tuple(x.shape)}")
        height, width = x.shape[-2:]
        padded = pad_to_multiple(x, self.multiple)
        found = []
        for picture in self.stages(padded):
            factor = padded.shape[-1] // picture.shape[-1]
            found.append(picture[..., : -(-height // factor), : -(-width // factor)])
        return found

    def load_released(self, state: Mapping[str, Tensor]) -> None:
        """Takes over the authors' weights, all of them: plain, or under "model", "state_dict" or "G".

        Raises ``ValueError`` where a tensor is missing, left over or of another shape.
        """
        state = next((state[key] for key in ("model", "state_dict", "G") if key in state), state)
        state = {key.removeprefix("module."): value for key, value in state.items()}
        try:
            self.load_state_dict(self.released(state))
        except RuntimeError as error:
            first = str(error).splitlines()[1:2] or [str(error)]
            raise ValueError(f"the weights are not those of this {type(self).__name__}: {first[0].strip()}") from None

    def released(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """The authors' tensors, by their names, as they are kept here."""
        return state


class Stages(Restored):
    """The best picture as ``image``, and beside it all of them, as a training with several outputs needs them.

    ``student`` is a prior's, and ``features`` what it says, in its teacher's channels; None without a prior, or where
    nothing can learn from it.
    """

    pictures: list[Tensor]
    student: nn.Module | None
    features: list[Tensor] | None


class Restoring(nn.Module):
    """A network of this folder as the project's are called: (B, 3, H, W) in [0, 1] -> ``Stages``, a ``Restored``."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Stages:
        # What only a loss looks at is not computed where nothing can learn from it.
        student = getattr(self.network, "student", None) if torch.is_grad_enabled() else None
        pictures, features = (self.network(x), None) if student is None else self.network(x, with_features=True)
        output = Stages(pictures[-1])
        output.pictures, output.student, output.features = pictures, student, features
        return output


def every_stage(loss: Callable[[Tensor, Tensor], Tensor], resized: bool = True) -> TermFunction:
    """A term: the sum of ``loss(restored, sharp)`` over all pictures of a ``Stages``, as these networks are trained.

    In float32 whatever the training's precision. The sharp picture is resized to a coarse one's size bilinearly,
    without antialias, as MIMO-UNet and MSSNet do it; not ``resized``, it stays as it is, for losses that look at
    pictures of any size. Of any other ``Restored`` there is one picture.
    """

    def term(output: Restored, batch: Batch) -> Tensor:
        pictures = getattr(output, "pictures", [output.image])
        with torch.autocast(batch.sharp.device.type, enabled=False):
            sharp = batch.sharp.float()
            return sum(loss(one.float(), _resized(sharp, one) if resized else sharp) for one in pictures)

    return term


def _resized(sharp: Tensor, like: Tensor) -> Tensor:
    return sharp if sharp.shape == like.shape else F.interpolate(sharp, like.shape[-2:], mode="bilinear")
