"""Hostile checkpoints: each is loaded or refused with one sentence; nothing in it runs or is written elsewhere."""

import os
from pathlib import Path

import numpy as np
import pytest
from hostile import check, checkpoint_bombs, mutated, read_all, torch_file

from demoe.models import checkpoints
from demoe.models.demoe import DeMoE, DeMoEConfig
from demoe.models.nafnet import NAFNet, NAFNetConfig

READERS = ("checkpoints", "tensors", "provenance")
SEED = int(os.environ.get("DEMOE_FUZZ_SEED", 0))
COUNT = int(os.environ.get("DEMOE_FUZZ", 200)) // 4
CODE = ("code.pth", "code_old.pth", "code_plain.pth", "code_protocol0.pt", "code_pkl.pt", "code.safetensors")


def tree(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    """Real files of every form."""
    folder = tmp_path_factory.mktemp("networks")
    sizes = {"encoder_blocks": (1,), "middle_blocks": 1, "decoder_blocks": (1,)}
    plain, mixed = NAFNet(NAFNetConfig(2, **sizes, router=True)), DeMoE(DeMoEConfig(2, **sizes))
    checkpoints.save(plain, folder / "NAFNet.safetensors", {"data": "synthetic"})
    checkpoints.save(mixed, folder / "DeMoE.safetensors")
    (folder / "NAFNet.pth").write_bytes(torch_file({"params": plain.state_dict()}))
    (folder / "DeMoE.pt").write_bytes(torch_file({"params": mixed.state_dict()}))
    (folder / "old.pth").write_bytes(torch_file(plain.state_dict(), _use_new_zipfile_serialization=False))
    return folder


def test_the_networks_themselves_are_loaded(networks):
    found = read_all(READERS, networks)
    assert {line["outcome"] for lines in found.values() for line in lines.values()} == {"read"}


def test_mutated_checkpoints(networks, tmp_path):
    kinds = sorted(networks.iterdir())
    for i in range(COUNT):
        path = kinds[i % len(kinds)]
        (tmp_path / f"{i:04d}_{path.name}").write_bytes(mutated(path.read_bytes(), np.random.default_rng([SEED, i])))
    found = read_all(READERS, tmp_path)
    check(found, tmp_path)
    assert [line["outcome"] for line in found["checkpoints"].values()].count("refused") > 0.4 * COUNT


def test_checkpoint_bombs_and_code(tmp_path):
    folder, marker = tmp_path / "a/b/files", tmp_path / "marker"
    folder.mkdir(parents=True)
    for name, data in checkpoint_bombs(marker).items():
        (folder / name).write_bytes(data)
        assert len(data) < 8 << 20, name
    before = tree(tmp_path)
    found = read_all(READERS, folder, mebibytes=2048)
    check(found, folder)
    assert not marker.exists() and tree(tmp_path) == before and not Path("/tmp/demoe-outside").exists()
    assert all(found[reader][name]["outcome"] == "refused" for name in CODE for reader in READERS)
    assert all(line["outcome"] == "refused" for line in found["checkpoints"].values())
    assert "compressed archive" in found["tensors"]["zip_bomb.pth"]["sentence"]


def test_the_code_would_run_if_it_were_unpickled(tmp_path):
    """Otherwise the marker's absence would say nothing."""
    import pickle

    pickle.loads(checkpoint_bombs(tmp_path / "marker")["code_plain.pth"])
    assert (tmp_path / "marker").exists()
