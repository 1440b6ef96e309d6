import itertools

import numpy as np
import pandas as pd
import pytest

from demoe.core import provenance
from demoe.core.tasks import DATASETS, EXPERTS
from demoe.evaluation import counterfactual
from demoe.evaluation.counterfactual import CAMERAS, COLUMNS, NATIVE
from demoe.report import counterfactual_report as report
from demoe.report import layouts, tables

MARK = provenance.Stamp("test", "synthetic", 0)
OWN = dict(zip(DATASETS, EXPERTS, strict=True))


def routing(choose, name="net", count=20) -> pd.DataFrame:
    rows = [
        (name, blur, capture, f"{i:04d}_scene{i}", OWN[blur], choose(blur, capture, i))
        for blur, capture, i in itertools.product(DATASETS, COLUMNS, range(count))
    ]
    found = pd.DataFrame(rows, columns=["network", "blur", "capture", "image", "label", "predicted"])
    return found.assign(correct=(found.label == found.predicted).astype("boolean"))


SEES_BLUR = routing(lambda blur, capture, i: OWN[blur], "blur")
SEES_CAMERA = routing(
    lambda blur, capture, i: OWN.get(capture, OWN[blur] if capture == NATIVE else "defocus"), "camera"
)
KNOWS_NOTHING = routing(lambda blur, capture, i: "defocus", "nothing")
BOTH = pd.concat([SEES_BLUR, SEES_CAMERA, KNOWS_NOTHING], ignore_index=True)


@pytest.fixture
def saved(home):
    """The CSVs of notebook 15, of three routers: one sees blur, one cameras, one nothing."""
    shares = {"blur": 0.9, "camera": 0.3, "nothing": 0.5}
    clusters = pd.DataFrame(
        [
            {
                "network": name,
                "by": by,
                "silhouette": 0.1,
                "knn": right if by == "blur" else 1 - right,
                "knn_shuffled": 0.2,
            }
            for name, right in shares.items()
            for by in ("blur", "camera")
        ]
    )
    causes = counterfactual.square(SEES_BLUR).rename(columns={"capture": "camera"})[["blur", "camera"]]
    x = np.random.default_rng(0).random(len(causes))
    points = pd.concat([causes.assign(network=name, x=x, y=0.0) for name in shares])
    found = {
        "routing": BOTH,
        "accuracy": counterfactual.accuracies(BOTH),
        "information": counterfactual.information(BOTH),
        "clusters": clusters,
        "points": points,
    }
    for name, table in found.items():
        tables.save(table, f"15_{name}", MARK)
    return found


def test_tables_say_which_router_sees_blur(saved):
    accuracy = report.accuracy_table(lambda name: tables.read(name, "test"))
    assert list(accuracy) == [*COLUMNS, report.OTHER] and list(accuracy.index) == ["blur", "camera", "nothing"]
    assert accuracy.loc["blur"].tolist() == ["100"] * len(accuracy.columns)
    assert accuracy.loc["camera", [NATIVE, report.OTHER]].tolist() == ["100", "0"]
    assert accuracy.loc["camera", list(CAMERAS)].tolist() == ["20"] * 5
    for name in ("15_accuracy", "15_matrix", "15_information", "15_clusters"):
        assert "profile test" in layouts.write(name, "test").markdown()


def test_claims_hold_for_blur_fail_for_cameras_and_say_nothing_of_what_learnt_nothing(saved):
    names = {"a": "blur", "b": "camera", "c": "nothing"}
    found = {one.id: one for one in report.claims(BOTH, saved["information"], saved["clusters"], names)}
    for what in ("router-blur", "router-information", "encoder-blur"):
        assert [found[f"{word}-{what}"].verdict for word in names] == ["holds", "fails", "undecided"]
    assert found["b-router-blur"].ours == 0 and found["b-router-information"].ours == pytest.approx(0, abs=1e-9)
    assert "the camera 100%" in found["b-router-information"].sentence


def test_figures_show_every_network(saved):
    assert [axis.get_title() for axis in report.matrices(saved["accuracy"]).axes] == ["blur", "camera", "nothing"]
    assert len(report.clustered(saved["points"], saved["clusters"]).axes) == 6
    assert len(report.explained(saved["information"]).axes) == 1
