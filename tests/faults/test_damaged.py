"""Files cut short, changed, or emptied behind our back: noticed, set aside, and what they held is made again."""

import numpy as np
import pytest
import torch
from conftest import shake
from PIL import Image

from demoe import experiments
from demoe.app import cli
from demoe.core import files, images, profiles, provenance
from demoe.data.build import build
from demoe.data.pairs import PairedSet
from demoe.data.setting import Setting
from demoe.data.synthetic import synthetic
from demoe.evaluation import benchmark
from demoe.evaluation.methods import blurred_input
from demoe.inference import tiles
from demoe.models import checkpoints
from demoe.models.nafnet import NAFNet, NAFNetConfig
from demoe.training import state

TINY = profiles.get("test", stage1_steps=5, train_images=1, test_images=1, image_size=48, checkpoint_every=2)
SETTING = Setting(TINY, progress=False)
BASELINE = experiments.named("baseline", SETTING)
MARK = provenance.Stamp("test", "synthetic", 0, "", "1234567", "a machine")


def cut(data):
    return data[: len(data) // 2]


def flipped(data):
    at = 2 * len(data) // 3
    return data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :]


DAMAGE = pytest.mark.parametrize("damage", [cut, flipped, lambda data: b""], ids=["cut", "flipped", "emptied"])


def harm(file, damage):
    before = file.read_bytes()
    file.write_bytes(damage(before))
    return before


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of results with a finished training, and the one of the training in it."""
    root = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DEMOE_HOME", str(root))
        yield experiments.obtain(BASELINE, SETTING).folder


@DAMAGE
@pytest.mark.parametrize("name", ["model.safetensors", "metrics.jsonl"])
def test_a_damaged_training_is_trained_again(trained, name, damage, capsys):
    weights = (trained / "model.safetensors").read_bytes()
    log = experiments.obtain(BASELINE, SETTING).metrics
    harm(trained / name, damage)
    damaged = (trained / name).read_bytes()
    assert not experiments.trained(BASELINE, SETTING)  # so it is trained before the notebooks
    again = experiments.obtain(BASELINE, SETTING)
    assert (trained / "model.safetensors").read_bytes() == weights and again.metrics.equals(log)
    aside = max(trained.glob(f"{name}.damaged*"), key=lambda path: path.stat().st_mtime_ns)
    assert aside.read_bytes() == damaged
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and f"was set aside as {aside.name}, and the network is trained again" in said


@DAMAGE
def test_a_damaged_checkpoint_of_an_unfinished_training(trained, damage, monkeypatch, capsys, tmp_path):
    expected = (trained / "model.safetensors").read_bytes()
    monkeypatch.setenv("DEMOE_HOME", str(tmp_path))
    real = checkpoints.save

    def stopped(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoints, "save", stopped)
    with pytest.raises(KeyboardInterrupt):
        experiments.obtain(BASELINE, SETTING)
    monkeypatch.setattr(checkpoints, "save", real)
    (state,) = tmp_path.rglob("state")
    harm(next(state.glob("*.pt")), damage)
    run = experiments.obtain(BASELINE, SETTING)
    assert (run.folder / "model.safetensors").read_bytes() == expected
    assert run.metrics.step.tolist() == list(dict.fromkeys(run.metrics.step))
    said = capsys.readouterr().err
    assert "state is damaged: it was set aside as state.damaged, and training starts from the beginning" in said
    assert (run.folder / "state.damaged").exists() and not (run.folder / "state").exists()


def test_the_checkpoint_of_another_network_is_set_aside(trained, monkeypatch, tmp_path):
    expected = (trained / "model.safetensors").read_bytes()
    monkeypatch.setenv("DEMOE_HOME", str(tmp_path))
    folder = tmp_path / "results/test/runs" / trained.name
    folder.mkdir(parents=True)
    other = NAFNet(NAFNetConfig(2, (1,), 1, (1,)))
    state.save(folder / "state", state.Progress(3, "", 0.0, 0.0), other, torch.optim.AdamW(other.parameters()), {})
    run = experiments.obtain(BASELINE, SETTING)
    assert (run.folder / "model.safetensors").read_bytes() == expected and (folder / "state.damaged").exists()


@DAMAGE
def test_a_damaged_cache_is_made_again(tmp_path, damage):
    first = synthetic("GoPro", "test", 2, 32, 0, tmp_path, False).pair(1)
    (file,) = tmp_path.glob("*/*.npz")
    before = harm(file, damage)
    again = synthetic("GoPro", "test", 2, 32, 0, tmp_path, False).pair(1)
    assert file.read_bytes() == before and all(torch.equal(*sides) for sides in zip(first, again, strict=True))


def flat(name="GoPro-syn", count=4):
    def read(i, window=None):
        return torch.full((3, 12, 14), 10 * i, dtype=torch.uint8), torch.full((3, 12, 14), 90, dtype=torch.uint8)

    return PairedSet(name, "synthetic", [f"{i:04d}_a" for i in range(count)], read, lambda i: (12, 14))


def scored(**more):
    compared = {"input": blurred_input, "root": more.pop("method", lambda image, pairs: image.sqrt())}
    return benchmark.run("faults", [flat()], compared, {"weights": "a"}, MARK, progress=False, **more)


@DAMAGE
@pytest.mark.parametrize("name", ["scores.csv", files.SUMS])
def test_damaged_scores_are_computed_again(home, name, damage):
    _, folder = scored()
    before = {path.name: path.read_bytes() for path in folder.glob("[!.]*")}
    harm(folder / name, damage)
    _, again = scored()
    assert again == folder
    after = {path.name: path.read_bytes() for path in folder.glob("[!.]*") if ".damaged" not in path.name}
    assert after == before


def test_a_journal_cut_short_loses_only_its_end(home):
    calls = []

    def breaks(image, pairs):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return image.sqrt()

    with pytest.raises(KeyboardInterrupt):
        scored(method=breaks)
    (journal,) = home.rglob("scores.csv.partial")
    harm(journal, cut)
    _, folder = scored(method=breaks)
    assert len(calls) > 5  # a picture or more had to be done again
    broken = (folder / "scores.csv").read_bytes()
    files.clear(folder)
    scored()
    assert (folder / "scores.csv").read_bytes() == broken


@DAMAGE
def test_damaged_pictures_and_lists_of_a_built_set(tmp_path, damage):
    (tmp_path / "sharp").mkdir()
    for i in range(9):
        small = np.random.default_rng(i).integers(256, size=(30, 34, 3), dtype=np.uint8)
        Image.fromarray(small).resize((170, 150), Image.Resampling.BICUBIC).save(tmp_path / f"sharp/{i}.png")

    def make():
        (root,) = build(
            tmp_path / "out", ["RealBlur"], "test", 2, (24, 30), sharp_images=tmp_path / "sharp", progress=False
        )
        return root, {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}

    root, before = make()
    harm(next(root.rglob("gt_*.png")), damage)
    harm(root / "README.txt", damage)
    harm(root / "RealBlur_J_test_list.txt", damage)
    assert make()[1] == before
    if damage is not flipped:  # a changed letter in a remark cannot be told from another remark
        harm(root / "manifest.csv", damage)
        assert make()[1] == before
    (root / "synthetic.json").write_text("{")
    with pytest.raises(ValueError, match=r"or its synthetic\.json is damaged: choose another folder, or"):
        make()


def test_no_memory_in_one_tile_is_one_sentence(tmp_path, monkeypatch, capsys):
    network = checkpoints.save(shake(NAFNet(NAFNetConfig(2, (1,), 1, (1,)))), tmp_path / "network.safetensors")
    images.write_photograph(tmp_path / "in.png", images.from_array(np.zeros((300, 600, 3), np.uint8)))
    real, calls = tiles.strips.forward, []

    def fails(*arguments, **options):
        calls.append(1)
        if len(calls) == 2:
            raise RuntimeError(
                "[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you "
                "tried to allocate 9999999999 bytes.\nException raised from alloc_cpu"
            )
        return real(*arguments, **options)

    monkeypatch.setattr(tiles.strips, "forward", fails)
    arguments = ["deblur", str(tmp_path / "in.png"), "-o", str(tmp_path / "out"), "--weights", str(network)]
    assert cli.main([*arguments, "--tile", "256"]) == 1
    said = [line for line in capsys.readouterr().err.splitlines() if line.strip()]
    assert len(calls) == 2 and sum("memory" in line for line in said) == 1 and "Traceback" not in "".join(said)
    assert not list(tmp_path.glob("out/*"))
    assert cli.main([*arguments, "--tile", "256"]) == 0


def test_a_second_process_is_refused_or_waits(home, tmp_path):
    busy = "another process is building in .*RealBlur: wait for it to end, or choose another folder"
    with files.alone(tmp_path / "out/.RealBlur.lock"), pytest.raises(ValueError, match=busy):
        build(tmp_path / "out", ["RealBlur"], "test", 1, 24, progress=False)
    file = tmp_path / "scores.csv"
    with files.alone(tmp_path / ".scores.csv.lock"), pytest.raises(ValueError, match="another process is writing"):
        benchmark.score([flat()], {"input": blurred_input}, progress=False, file=file)
    assert not file.exists()


def test_what_a_killed_process_left_is_removed_and_what_a_running_one_writes_is_not(tmp_path):
    dead, foreign = tmp_path / f".a.csv.999999999{files.PARTIAL}", tmp_path / ".a.csv.part"
    living = tmp_path / f".a.csv.1{files.PARTIAL}"
    for file in (dead, foreign, living):
        file.touch()
    files.write_text(tmp_path / "a.csv", "x\n")
    assert not dead.exists() and foreign.exists() and living.exists()
    assert (tmp_path / "a.csv").read_text() == "x\n"
