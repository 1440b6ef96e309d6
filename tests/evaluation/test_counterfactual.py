import numpy as np
import pandas as pd
import pytest
import torch
from conftest import shake

from demoe.blur import sources
from demoe.core.tasks import DATASETS
from demoe.evaluation import counterfactual
from demoe.evaluation.counterfactual import CAMERAS, CHANGES, COLUMNS, NATIVE, SHARED
from demoe.models.nafnet import NAFNet, NAFNetConfig


def _photograph(rng, split, height, width, **options):
    return sources.sharp_canvas(rng, split, height, width, **{**options, "dead_leaves": 0.0})


@pytest.fixture(scope="module")
def seen():
    models = {
        name: shake(NAFNet(NAFNetConfig(4, (1, 1), 1, (1, 1), router=True)), seed)
        for name, seed in (("b", 1), ("a", 2))
    }
    return counterfactual.look(models, 2, 32, _photograph, progress=False)


def test_every_blur_is_seen_in_every_column_by_every_network(seen):
    routing = seen.routing
    assert len(routing) == 2 * len(DATASETS) * len(COLUMNS) * 2 and list(routing.network.unique()) == ["b", "a"]
    assert (routing.groupby(["network", "blur", "capture"]).size() == 2).all()
    assert routing.correct.equals((routing.label == routing.predicted).astype("boolean"))
    shown = counterfactual.accuracies(routing)
    assert len(shown) == 2 * len(DATASETS) * len(COLUMNS) and shown.accuracy.between(0, 1).all()
    assert all(
        len(one) == len(counterfactual.square(routing[routing.network == "a"])) for one in seen.features.values()
    )


def test_the_own_camera_is_the_set_and_changes_leave_the_blur(seen):
    own, same = (counterfactual.pictures("GoPro", column, 2, 48, _photograph) for column in (NATIVE, "GoPro"))
    assert all(torch.equal(own.pair(i)[0], same.pair(i)[0]) for i in range(2))
    for column in CHANGES:
        pairs = counterfactual.pictures("GoPro", column, 2, 48, _photograph)
        image = pairs.pair(1)[0]
        assert pairs.name == "GoPro-syn" and image.shape[1:] == ((24, 24) if column == "half size" else (48, 48))
        assert pairs.pair(1)[1] is None
        if column == "gray":  # as the picture may have been
            assert torch.equal(image[0], image[1]) and torch.equal(image[1], image[2])
        else:
            assert not torch.equal(image, own.pair(1)[0])
    noisy = counterfactual.pictures("GoPro", "noise 3", 2, 48, _photograph).pair(0)[0] - own.pair(0)[0]
    assert 255 * float(noisy.std()) == pytest.approx(3, rel=0.1)
    with pytest.raises(ValueError, match="unknown column 'fog'"):
        counterfactual.pictures("GoPro", "fog", 1, 48)


def _routing(choose) -> pd.DataFrame:
    rows = [
        (blur, camera, choose(blur, camera)) for blur in DATASETS for camera in (*CAMERAS, SHARED) for _ in range(8)
    ]
    return pd.DataFrame(rows, columns=["blur", "capture", "predicted"]).assign(network="n")


def test_information_says_which_of_the_two_a_router_answers_by():
    blur = counterfactual.information(_routing(lambda blur, camera: blur)).iloc[0]
    camera = counterfactual.information(_routing(lambda blur, camera: camera)).iloc[0]
    assert (blur.blur_share, blur.camera_share) == pytest.approx((1, 0)) and blur.choice == pytest.approx(np.log2(5))
    assert (camera.blur_share, camera.camera_share) == pytest.approx((0, 1))
    assert 0 < blur.by_chance < 0.15
    constant = counterfactual.information(_routing(lambda blur, camera: "x")).iloc[0]
    assert constant[["choice", "blur", "camera", "blur_share", "camera_share"]].tolist() == [0] * 5


def test_mutual_information_is_that_of_sklearn():
    from sklearn.metrics import mutual_info_score

    rng = np.random.default_rng(0)
    first = rng.integers(0, 4, 200)
    second = (first + rng.integers(0, 2, 200)) % 5
    assert counterfactual.mutual(first, second) == pytest.approx(mutual_info_score(first, second) / np.log(2))


def test_clusters_are_told_by_what_makes_them(seen):
    causes = counterfactual.square(seen.routing[seen.routing.network == "a"])
    by_camera = np.eye(5)[causes.capture.map(list(CAMERAS).index)] + 0.01 * np.random.default_rng(0).random((50, 5))
    points, numbers = counterfactual.clusters(seen._replace(features={"a": by_camera}))
    assert set(points) == {"network", "blur", "camera", "x", "y"} and len(points) == 50
    knn = numbers.set_index(["network", "by"]).knn
    assert knn["a", "camera"] == 1 and knn["a", "blur"] < 0.5
    assert (counterfactual.NO_NETWORK, "blur") in knn.index
