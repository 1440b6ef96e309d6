"""What the router says, how sure it is, and whether that can be believed: accuracy, calibration, signs of the unknown.

Nothing here looks at a test set to choose a number: thresholds and the temperature come from pictures held out of the
training sets' own distribution (``reference_sets``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import normalize

from demoe.core.tasks import DATASETS, EXPERTS
from demoe.data import aio_blur
from demoe.data.composition import select
from demoe.data.pairs import PairedSet
from demoe.data.setting import Setting
from demoe.inference.restore import evaluation_mode
from demoe.models.layers import UNet, pad_to_multiple
from demoe.models.moe import NoiseOn, noisy_weights, normalised_entropy

from . import statistics

KNOWN_PICTURES = 100  # of each training set, whose features "known" means; our choice
NEIGHBOURS = 5  # the distance is that to the fifth nearest of them; our choice
KEPT = 0.95  # share of held-out pictures that a gate lets through; the usual operating point of detectors
SIGNS = ("normalised_entropy", "distance")  # that a picture is unknown: the larger, the less is known
WELL_CALIBRATED = 0.05  # of accuracy less confidence, either way; our choice
BINS = 10  # of the reliability diagram, of equal width


@dataclass(frozen=True)
class RouterView:
    """What the router makes of pictures. ``table``: set, image, label (the expert of the set's blur; for a set outside
    AIO-Blur the one that the paper chooses by hand; "" where there is none), predicted, correct, and a column an
    expert with its softmax weight. ``features``: (n, C), the encoder's last map averaged over the picture: not what
    the router averages, which is that map after its own 1x1 convolution, batch norm, ReLU and attention. Our choice,
    so that what the router has learnt to overlook still counts."""

    table: pd.DataFrame
    features: np.ndarray

    @property
    def probabilities(self) -> np.ndarray:
        """(n, 5), rows summing to one."""
        return self.table[list(EXPERTS)].to_numpy(float)


@torch.no_grad()
def router_view(model: UNet, sets: Sequence[PairedSet], device: str = "cpu") -> RouterView:
    """One pass of encoder and router over every picture of ``sets``; the decoder does not run.

    ``model`` is a DeMoE, or a NAFNet that has a router.
    """
    rows, features = [], []
    with evaluation_mode(model):
        for pairs in sets:
            label = "" if pairs.label is None else EXPERTS[pairs.label]
            for i, key in enumerate(pairs.keys):
                image = pairs.pair(i)[0].unsqueeze(0).to(device)  # (1, 3, H, W)
                y, _ = model.encode(pad_to_multiple(image, 2 ** len(model.encoders)))  # (1, C, h, w)
                weights = F.softmax(model.mlp_branch(y)[0].double(), 0).tolist()
                predicted = EXPERTS[int(np.argmax(weights))]
                correct = predicted == label if label else None
                rows.append(
                    {"set": pairs.name, "image": key, "label": label, "predicted": predicted, "correct": correct}
                    | dict(zip(EXPERTS, weights, strict=True))
                )
                features.append(y.mean((2, 3))[0].double().cpu().numpy())
    return RouterView(pd.DataFrame(rows).astype({"correct": "boolean"}), np.stack(features))


def signed(
    model: UNet, setting: Setting, sets: Sequence[PairedSet], device: str = "cpu"
) -> tuple[pd.DataFrame, pd.DataFrame, str]:
    """``add_signs``' tables of ``sets`` and of ``reference_sets``' held-out pictures, and what these are called."""
    known_sets, held_out_sets = reference_sets(setting)
    known, *views = (router_view(model, some, device) for some in (known_sets, sets, held_out_sets))
    seen, held_out = (add_signs(one, known.features) for one in views)
    return seen, held_out, reference_name(held_out_sets)


def reference_sets(setting: Setting) -> tuple[list[PairedSet], list[PairedSet]]:
    """Up to ``KNOWN_PICTURES`` evenly spread training pictures of each set of AIO-Blur, and the held-out ones.

    Held out are the synthetic sets' "val" pictures, of other photographs than those trained and tested on. Real sets
    have no common validation split; there every other one of the training pictures is held out of the known ones (the
    network has seen them, so that thresholds come out too strict). Errors as for ``aio_blur.one_set``.
    """
    training = [aio_blur.one_set(name, setting, "train") for name in DATASETS]
    if setting.roots:
        known = [_spread(pairs, 2 * KNOWN_PICTURES) for pairs in training]
        halves = [[select(pairs, range(start, len(pairs), 2)) for pairs in known] for start in (0, 1)]
        return halves[0], halves[1]
    held_out = [aio_blur.one_set(name, setting, "val") for name in DATASETS]
    return [_spread(pairs, KNOWN_PICTURES) for pairs in training], held_out


def reference_name(sets: Sequence[PairedSet]) -> str:
    """What the second sets of ``reference_sets`` may be called: "held-out", or, of real data, "training"."""
    return "training" if any(pairs.data == "real" for pairs in sets) else "held-out"


def _spread(pairs: PairedSet, count: int) -> PairedSet:
    count = min(count, len(pairs))
    return select(pairs, [i * len(pairs) // count for i in range(count)])


def distance(features: np.ndarray, known: np.ndarray, neighbours: int = NEIGHBOURS) -> np.ndarray:
    """Distance of each of (n, C) to its ``neighbours``-th nearest of the (m, C) known ones, all at length one: (n,).

    Between 0 and 2 (Sun et al. 2022, "Out-of-distribution detection with deep nearest neighbors"). With fewer than
    ``neighbours`` known pictures, that to the farthest of them.
    """
    nearest = NearestNeighbors(n_neighbors=min(neighbours, len(known)), algorithm="brute").fit(normalize(known))
    return nearest.kneighbors(normalize(features))[0][:, -1]


def add_signs(seen: RouterView, known: np.ndarray) -> pd.DataFrame:
    """``seen.table`` with the two signs that a picture is unknown, ``SIGNS``: normalised_entropy (of the router's
    softmax, 0 to 1) and distance (to the known features, 0 to 2)."""
    signs = normalised_entropy(seen.probabilities).numpy(), distance(seen.features, known)
    return seen.table.assign(**dict(zip(SIGNS, signs, strict=True)))


def thresholds(held_out: pd.DataFrame, kept: float = KEPT) -> dict[str, float]:
    """The entropy and the distance that all but ``1 - kept`` of the held-out pictures stay at or below.

    ``held_out`` is ``add_signs``' table of pictures from the training distribution, never of a test set.
    """
    return {sign: float(np.quantile(held_out[sign], kept)) for sign in SIGNS}


def detection(inside: pd.DataFrame, outside: pd.DataFrame, limits: dict[str, float]) -> pd.DataFrame:
    """How well the signs tell each outside set from the test sets inside the training distribution.

    Columns: sign, set, auroc (0.5: not at all), flagged (share above the limit). The row "inside" has their flagged.
    """
    rows = []
    for sign, limit in limits.items():
        rows.append((sign, "inside", np.nan, (inside[sign] > limit).mean()))
        for name, part in outside.groupby("set", sort=False):
            rows.append((sign, name, auroc(inside[sign], part[sign]), (part[sign] > limit).mean()))
    return pd.DataFrame(rows, columns=["sign", "set", "auroc", "flagged"])


def auroc(inside: Sequence[float], outside: Sequence[float]) -> float:
    """Probability that a random outside value is above a random inside one, ties half (Mann and Whitney)."""
    truth = np.repeat([0, 1], [len(inside), len(outside)])
    return float(roc_auc_score(truth, np.concatenate([inside, outside])))


def temperature(probabilities: np.ndarray, truth: np.ndarray) -> float:
    """The temperature, between 0.05 and 20, with the least cross-entropy (Guo et al. 2017), of (n, N) and labels (n,).

    Of a softmax alone, since logits are only its logarithm and a constant.
    """
    logits, rows = _logits(probabilities), np.arange(len(truth))

    def loss(log_t: float) -> float:
        return float(-log_softmax(logits / np.exp(log_t), axis=1)[rows, truth].mean())

    return float(np.exp(minimize_scalar(loss, bounds=(np.log(0.05), np.log(20)), method="bounded").x))


def fitted_temperature(held_out: pd.DataFrame) -> float:
    """``temperature`` of a table of ``router_view`` whose pictures all have a label."""
    truth = np.array([EXPERTS.index(label) for label in held_out.label])
    return temperature(held_out[list(EXPERTS)].to_numpy(float), truth)


def at_temperature(probabilities: np.ndarray, value: float) -> np.ndarray:
    """The softmax (n, N) that the same logits give when divided by ``value``: above 1 less sure, below 1 more so."""
    return softmax(_logits(probabilities) / value, axis=1)


def _logits(probabilities: np.ndarray) -> np.ndarray:
    return np.log(np.clip(probabilities, 1e-12, None))


def reliability(confidence: np.ndarray, correct: np.ndarray, bins: int = BINS) -> pd.DataFrame:
    """The reliability diagram: ``bins`` of equal width over [0, 1], each open below and closed above, the first with 0.

    Columns: low, high, count, confidence (mean, NaN in an empty bin), accuracy. Raises ``ValueError`` for no pictures,
    and for values outside [0, 1].
    """
    confidence, correct = np.asarray(confidence, float), np.asarray(correct, float)
    if not len(confidence) or len(confidence) != len(correct) or confidence.min() < 0 or confidence.max() > 1:
        raise ValueError(
            "a reliability diagram needs a confidence in [0, 1] and right or wrong for every picture, "
            f"got {len(confidence)} and {len(correct)}"
        )
    edges, which = np.linspace(0, 1, bins + 1), _bins(confidence, bins)
    count = np.bincount(which, minlength=bins)
    with np.errstate(invalid="ignore"):
        means = [np.bincount(which, values, bins) / count for values in (confidence, correct)]
    return pd.DataFrame(
        {"low": edges[:-1], "high": edges[1:], "count": count, "confidence": means[0], "accuracy": means[1]}
    )


def _bins(confidence: np.ndarray, bins: int) -> np.ndarray:
    return pd.cut(confidence, np.linspace(0, 1, bins + 1), labels=False, include_lowest=True)


def calibration_error(diagram: pd.DataFrame) -> float:
    """Expected calibration error (Naeini et al. 2015): mean of |accuracy - confidence| over the pictures' bins."""
    filled = diagram[diagram["count"] > 0]
    return float(((filled.accuracy - filled.confidence).abs() * filled["count"]).sum() / filled["count"].sum())


def chance_error(confidence: np.ndarray, draws: int = 1000) -> float:
    """The error that a perfectly calibrated router of this confidence would stay below with probability 0.95.

    So few pictures a bin make the error positive by chance alone; less than this is no evidence of bad calibration.
    """
    rng = np.random.default_rng(0)
    confidence = np.asarray(confidence, float)
    which = _bins(confidence, BINS)
    found = []
    for _ in range(draws):
        right = rng.random(len(confidence)) < confidence
        found.append(np.abs(np.bincount(which, right - confidence)).sum() / len(confidence))
    return float(np.quantile(found, 0.95))


def calibration(groups: dict[str, pd.DataFrame], value: float) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Reliability diagrams and their errors for named groups of pictures: as the router is, at temperature ``value``.

    ``groups`` are tables of ``router_view``; pictures without label are left out, and so is a group that has none.
    Columns of the first: group, temperature, then ``reliability``'s; of the second: group, temperature, pictures,
    accuracy, confidence, ece, ece_by_chance, gap (accuracy less confidence) with gap_low and gap_high (its interval
    over scenes), scenes, verdict (``calibrated``).
    """
    bins, errors = [], []
    for name, table in groups.items():
        known = table[table.label != ""]
        if known.empty:
            continue
        correct = known.correct.to_numpy(bool)
        keys = [f"{one} {statistics.scene(one, key)}/" for one, key in zip(known["set"], known["image"], strict=True)]
        numbers, draws = statistics.scene_draws("calibration", keys, 0)
        scenes = draws.shape[1]
        for t in (1.0, value):
            confidence = at_temperature(known[list(EXPERTS)].to_numpy(float), t).max(1).clip(0, 1)
            diagram = reliability(confidence, correct)
            bins.append(diagram.assign(group=name, temperature=t))
            row = {"group": name, "temperature": t, "pictures": len(known)}
            row |= {"accuracy": correct.mean(), "confidence": confidence.mean()}
            row |= {"ece": calibration_error(diagram), "ece_by_chance": chance_error(confidence)}
            ends = statistics.percentiles(statistics.resampled_means(correct - confidence, numbers, draws), scenes)
            row |= {"gap": (correct - confidence).mean(), "gap_low": ends[0], "gap_high": ends[1], "scenes": scenes}
            errors.append(row | {"verdict": calibrated(**row)})
    first = pd.concat(bins, ignore_index=True)
    return first[["group", "temperature", "low", "high", "count", "confidence", "accuracy"]], pd.DataFrame(errors)


def calibrated(*, ece: float, ece_by_chance: float, gap_low: float, gap_high: float, scenes: int, **_: object) -> str:
    """Whether a router is as right as it is sure: an error within chance's does not show it.

    "fails" where the error is above ``ece_by_chance``, or where the interval of accuracy less confidence leaves out 0;
    else "holds" where all of that interval is within ``WELL_CALIBRATED``, and "undecided" where it is not, or comes
    from fewer than ``statistics.FEWEST_SCENES``.
    """
    known = scenes >= statistics.FEWEST_SCENES
    if ece > ece_by_chance or (known and (gap_low > 0 or gap_high < 0)):
        return "fails"
    return "holds" if known and gap_low > -WELL_CALIBRATED and gap_high < WELL_CALIBRATED else "undecided"


def experts_in_use(
    weights: np.ndarray, noise: float = 0.0, seed: int = 0, draws: int = 20, on: NoiseOn = "logits"
) -> float:
    """How many experts a router mixes: exp of the entropy of its softmax (M, N), 1 to N, the mean over the pictures.

    ``noise`` is the standard deviation of Gaussian noise ``on`` the logits or the weights (``moe.noisy_weights``),
    averaged over ``draws``.
    """
    logits = np.log(np.clip(weights, 1e-12, None))
    rng = np.random.default_rng(seed)
    added = noise * rng.standard_normal((draws if noise else 1, *logits.shape))  # (draws, M, N)
    mixed = noisy_weights(torch.from_numpy(logits).expand(added.shape), torch.from_numpy(added), on)
    return float((weights.shape[1] ** normalised_entropy(mixed).numpy()).mean())
