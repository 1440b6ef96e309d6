"""Pictures as points: CLIP and encoder features, their t-SNE, and numbers that say whether groups are really there."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.metrics import silhouette_samples
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn
from torchvision.transforms.functional import to_pil_image
from tqdm.auto import tqdm

from demoe.core.downloads import CannotMeasure, no_answer
from demoe.data.pairs import PairedSet
from demoe.models.layers import pad_to_multiple

from .weight_similarity import all_pairs, cka

CLIP_MODEL, CLIP_WEIGHTS = "ViT-B-32-quickgelu", "openai"  # OpenAI's ViT-B/32 was trained with the quick GELU
_CLIP_FILES = ("timm/vit_base_patch32_clip_224.openai", ("open_clip_model.safetensors", "open_clip_pytorch_model.bin"))

# The two readings of Figure 13, what encoders of differently trained baselines see in a picture; and what needs none.
POOLED = "features averaged over the picture"
PICTURED = "features drawn as a picture, seen by CLIP"
READINGS = (POOLED, PICTURED)
NO_NETWORK = "no network"


@lru_cache(maxsize=1)
def _clip() -> tuple[nn.Module, object]:
    import open_clip

    given = os.environ.get("DEMOE_CLIP")
    if given and not Path(given).is_file():
        raise CannotMeasure(f"$DEMOE_CLIP names {given}, which is not a file: let it name OpenAI's ViT-B-32.pt")
    if not given:
        _check_clip_can_be_had()
    model, _, transform = open_clip.create_model_and_transforms(CLIP_MODEL, pretrained=given or CLIP_WEIGHTS)
    return model.eval(), transform


def _check_clip_can_be_had() -> None:
    """Asks for the weights' host once, briefly: the download itself would try for most of a minute."""
    from huggingface_hub import constants, try_to_load_from_cache

    repository, files = _CLIP_FILES
    if any(isinstance(try_to_load_from_cache(repository, name), str) for name in files):
        return
    host = constants.ENDPOINT
    if why := "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else no_answer(host):
        raise CannotMeasure(
            f"CLIP ViT-B/32 (OpenAI's weights, 350 MB) is neither in {constants.HF_HUB_CACHE} nor can it be fetched "
            f"from {host} ({why}): run this once with network, or let $DEMOE_CLIP name a ViT-B-32.pt"
        )


@torch.no_grad()
def clip_features(pictures: list[Tensor], progress: bool = True) -> np.ndarray:
    """CLIP ViT-B/32 image features of unit length, (N, 512) float32, of pictures (3, H, W) in [0, 1].

    CLIP sees each picture as it was trained to: the shorter side at 224 pixels (bicubic), the centre of it. Raises
    ``CannotMeasure`` within seconds where OpenAI's weights are not at hand.
    """
    model, transform = _clip()
    features = []
    for picture in tqdm(pictures, desc="CLIP", unit="picture", leave=False, disable=not progress):
        seen = transform(to_pil_image(picture.cpu().clamp(0, 1)))  # (3, 224, 224)
        features.append(F.normalize(model.encode_image(seen[None]).float(), dim=1)[0])  # (512,)
    return torch.stack(features).numpy()


@torch.no_grad()
def encode(model: nn.Module, picture: Tensor) -> Tensor:
    """The encoder's last feature map, (16C, H/16, W/16) for four levels, of one picture (3, H, W) in [0, 1].

    It is what the router reads. ``model`` is a NAFNet or a DeMoE.
    """
    x = pad_to_multiple(picture[None].to(next(model.parameters()).device), 2 ** len(model.encoders))  # (1, 3, H', W')
    return model.encode(x)[0][0]


def encoder_features(model: nn.Module, sets: list[PairedSet], progress: bool = True) -> np.ndarray:
    """The encoder's last feature map averaged over the picture, (N, 16C), of every blurred picture of every set."""
    pictures = blurred_pictures(sets)
    bar = tqdm(pictures, desc="encoder", unit="picture", leave=False, disable=not progress)
    return np.stack([encode(model, picture).mean((1, 2)).cpu().numpy() for picture in bar])


def feature_pictures(model: nn.Module, sets: list[PairedSet]) -> list[Tensor]:
    """Each blurred picture's last feature map as a picture (3, 224, 224) in [0, 1], for CLIP to look at.

    Red, green and blue are the three main components of the features over all pictures and places, each stretched
    between its 1st and 99th percentile; enlarged without smoothing. Not stated in the paper; our reading of "CLIP and
    t-SNE in cascade to the encoder features".
    """
    maps = [encode(model, picture).cpu() for picture in blurred_pictures(sets)]
    points = np.concatenate([features.flatten(1).T.numpy() for features in maps])  # (places, 16C)
    main = PCA(n_components=3, svd_solver="full").fit(points[:: max(1, len(points) // 20_000)])
    low, high = np.percentile(main.transform(points), (1, 99), axis=0)
    pictures = []
    for features in maps:
        colours = (main.transform(features.flatten(1).T.numpy()) - low) / np.maximum(high - low, 1e-12)
        picture = torch.from_numpy(colours.T.astype(np.float32)).view(3, *features.shape[1:]).clamp(0, 1)
        pictures.append(F.interpolate(picture[None], size=(224, 224))[0])
    return pictures


def blurred_pictures(sets: list[PairedSet]) -> list[Tensor]:
    """All blurred pictures of all sets, in order, (3, H, W) in [0, 1]."""
    return [pairs.pair(i)[0] for pairs in sets for i in range(len(pairs))]


def labels(sets: list[PairedSet]) -> np.ndarray:
    """The set of every picture, in the same order: (N,) text."""
    return np.array([pairs.name for pairs in sets for _ in range(len(pairs))])


def tsne(features: np.ndarray, seed: int = 0) -> np.ndarray:
    """t-SNE of (N, D) features to (N, 2), started from their main components; the same seed gives the same bytes.

    Perplexity 30, or a third of the number of pictures where there are fewer than 91 of them. Not stated in the paper.
    """
    perplexity = min(30, max(1.0, (len(features) - 1) / 3))
    method = TSNE(perplexity=perplexity, init="pca", learning_rate="auto", random_state=seed, n_jobs=1)
    return method.fit_transform(np.asarray(features, dtype=np.float32))


def separability(features: np.ndarray, groups: np.ndarray, seed: int = 0) -> dict[str, float]:
    """How well (N, D) ``features`` tell the ``groups`` (N,) apart. Features are standardised first.

    ``silhouette`` is in [-1, 1], above 0 where pictures lie nearer to their own group; ``knn`` is the accuracy of 5
    nearest neighbours under cross-validation; ``knn_shuffled`` the same with shuffled labels, the mean of ten
    shufflings, which is what no separation at all would give. Raises ``ValueError`` for fewer than two groups, or a
    group of one picture.
    """
    return _separability(features, groups, seed)[0]


def _separability(features: np.ndarray, groups: np.ndarray, seed: int) -> tuple[dict[str, float], pd.DataFrame]:
    """``separability``, and of every picture what it is the mean of: columns right, silhouette."""
    _, sizes = np.unique(groups, return_counts=True)
    if len(sizes) < 2 or sizes.min() < 2:
        raise ValueError("separability needs at least two groups of at least two pictures each")
    scaled = StandardScaler().fit_transform(np.asarray(features, dtype=np.float64))
    rng = np.random.default_rng(seed)

    smallest = int(sizes.min())
    folds = StratifiedKFold(min(5, smallest), shuffle=True, random_state=seed)
    learnt = smallest - -(-smallest // folds.n_splits)  # of the smallest group, in each fold
    classifier = KNeighborsClassifier(min(5, learnt))

    def right(truth: np.ndarray) -> np.ndarray:
        return cross_val_predict(classifier, scaled, truth, cv=folds) == truth

    pictures = pd.DataFrame({"right": right(groups), "silhouette": silhouette_samples(scaled, groups)})
    shuffled = [right(rng.permutation(groups)).mean() for _ in range(10)]
    numbers = {
        "silhouette": pictures.silhouette.mean(),
        "knn": pictures.right.mean(),
        "knn_shuffled": np.mean(shuffled),
    }
    return {name: float(value) for name, value in numbers.items()}, pictures


class Embedded(NamedTuple):
    """Features of all blurred pictures of some sets, and how they came about."""

    features: np.ndarray  # (N, D)
    groups: np.ndarray  # (N,) the set of each
    source: str  # for titles
    missing: str  # why it is not CLIP's; "" if it is


def clip_or_encoder(sets: list[PairedSet], encoder: Callable[[], nn.Module], progress: bool = True) -> Embedded:
    """CLIP's features of the blurred pictures; where its weights are missing those of a trained ``encoder``, so named.

    ``encoder`` is called only then.
    """
    try:
        return Embedded(clip_features(blurred_pictures(sets), progress), labels(sets), "CLIP ViT-B/32", "")
    except CannotMeasure as error:
        features = encoder_features(encoder(), sets, progress)
        return Embedded(features, labels(sets), "trained encoder (not CLIP: no weights here)", str(error))


class EncoderViews(NamedTuple):
    """The blurred pictures of some sets in the eyes of some encoders."""

    points: pd.DataFrame  # a row a picture: reading, baseline, set, x, y (t-SNE, no unit)
    pictures: pd.DataFrame  # likewise, of the first reading: baseline, set, image, right (5 neighbours), silhouette
    numbers: pd.DataFrame  # a row a reading and baseline: silhouette, knn, knn_shuffled, note (why there are none)
    alike: pd.DataFrame  # linear CKA of the averaged features of every two baselines: columns first, second, cka
    missing: str  # what CLIP lacks here, and how to provide it; "" if nothing


def encoder_views(
    models: dict[str, nn.Module], sets: list[PairedSet], seed: int = 0, progress: bool = True
) -> EncoderViews:
    """t-SNE and separability of every blurred picture of ``sets`` for every encoder, in both readings.

    Where CLIP's weights cannot be had the second reading has no points and no numbers; nothing takes its place. A last
    row of the first reading, "no network", is the separability of the pictures' mean colours and contrasts.
    """
    groups = labels(sets)
    points, numbers, by_picture, pooled, missing = [], [], [], {}, ""
    named = pd.DataFrame({"set": groups, "image": [key for pairs in sets for key in pairs.keys]})

    def told(name: str, reading: str, features: np.ndarray) -> dict[str, float]:
        found, pictures = _separability(features, groups, seed)
        if reading == POOLED:
            by_picture.append(named.join(pictures).assign(baseline=name))
        return found

    for reading in READINGS:
        for name, model in models.items():
            row = {"reading": reading, "baseline": name, "note": ""}
            try:
                if reading == POOLED:
                    features = pooled[name] = encoder_features(model, sets, progress)
                else:
                    features = clip_features(feature_pictures(model, sets), progress)
            except CannotMeasure as error:
                missing = str(error)
                numbers.append(row | {"note": "CLIP's weights are not on this machine"})
                continue
            x, y = tsne(features, seed).T
            points.append(pd.DataFrame({"reading": reading, "baseline": name, "set": groups, "x": x, "y": y}))
            numbers.append(row | told(name, reading, features))
        if reading == POOLED:
            plain = told(NO_NETWORK, reading, colours(sets))
            numbers.append({"reading": reading, "baseline": NO_NETWORK, "note": "mean and contrast of colours"} | plain)
    columns = ["reading", "baseline", "silhouette", "knn", "knn_shuffled", "note"]
    alike = [{"first": a, "second": b, "cka": cka(pooled[a], pooled[b], "linear")} for a, b in all_pairs(models)]
    return EncoderViews(
        pd.concat(points, ignore_index=True),
        pd.concat(by_picture, ignore_index=True)[["baseline", "set", "image", "right", "silhouette"]],
        pd.DataFrame(numbers).reindex(columns=columns),
        pd.DataFrame(alike),
        missing,
    )


def colours(sets: list[PairedSet]) -> np.ndarray:
    """Mean and standard deviation of each colour of every blurred picture, (N, 6): what no network is needed for."""
    pictures = blurred_pictures(sets)
    return np.stack([np.concatenate([p.mean((1, 2)).numpy(), p.std((1, 2)).numpy()]) for p in pictures])
