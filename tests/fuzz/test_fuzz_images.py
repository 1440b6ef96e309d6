"""Hostile pictures: each is read or refused with one sentence, in little memory and time, and nothing else happens."""

import os

import numpy as np
import pytest
from hostile import check, mutated, picture_bombs, pictures, read_all

READERS = ("images", "pixels", "windows", "headers")
SEED = int(os.environ.get("DEMOE_FUZZ_SEED", 0))
COUNT = int(os.environ.get("DEMOE_FUZZ", 200))  # mutated files


@pytest.fixture(scope="module")
def mutations(tmp_path_factory):
    folder, kinds = tmp_path_factory.mktemp("mutated"), list(pictures().items())
    for i in range(COUNT):
        name, data = kinds[i % len(kinds)]
        (folder / f"{i:04d}_{name}").write_bytes(mutated(data, np.random.default_rng([SEED, i])))
    return folder


@pytest.fixture(scope="module")
def bombs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bombs")
    for name, data in picture_bombs().items():
        (folder / name).write_bytes(data)
    return folder


def test_mutated_pictures(mutations):
    found = read_all(READERS, mutations)
    check(found, mutations)
    outcomes = [line["outcome"] for line in found["images"].values()]
    assert outcomes.count("read") > 0.02 * COUNT and outcomes.count("refused") > 0.1 * COUNT  # both kinds were met


def test_picture_bombs_fit_little_memory(bombs):
    before = {path.name: path.read_bytes() for path in bombs.iterdir()}
    found = read_all(READERS, bombs, mebibytes=2048)
    check(found, bombs)
    large = [name for name in before if name.startswith(("50000x50000", "large", "wide"))]
    for reader in ("images", "pixels"):
        assert len(large) == 8 and all(found[reader][name]["outcome"] == "refused" for name in large)
    assert {path.name: path.read_bytes() for path in bombs.iterdir()} == before


def test_pictures_cut_short(tmp_path):
    for name, data in pictures().items():
        for part in (0.02, 0.1, 0.5, 0.9, 0.99):
            (tmp_path / f"{part}_{name}").write_bytes(data[: int(part * len(data))])
    check(read_all(READERS, tmp_path), tmp_path)


def test_the_pictures_themselves_are_read(tmp_path):
    for name, data in pictures().items():
        (tmp_path / name).write_bytes(data)
    found = read_all(READERS[:2], tmp_path)
    for reader in READERS[:2]:
        assert {line["outcome"] for line in found[reader].values()} == {"read"}


def test_the_command_line_says_one_sentence_each(tmp_path, capsys):
    from demoe.app import cli
    from demoe.models import checkpoints
    from demoe.models.nafnet import NAFNet, NAFNetConfig

    network = checkpoints.save(NAFNet(NAFNetConfig(2, (1,), 1, (1,))), tmp_path / "network.safetensors")
    (tmp_path / "in").mkdir()
    for name, data in picture_bombs().items():
        (tmp_path / "in" / name).write_bytes(data)
    count = len(picture_bombs())
    arguments = ["deblur", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "--weights", str(network)]
    assert cli.main(arguments) == 1
    shown = capsys.readouterr().err.splitlines()
    refused = [line for line in shown if line.startswith("demoe: ")]
    assert "Traceback" not in "".join(shown) and len(refused) > count / 2
    assert all(str(tmp_path / "in") in line for line in refused)
