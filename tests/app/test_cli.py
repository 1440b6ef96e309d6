"""The command line, as a person meets it: lines, exit statuses, files."""

import argparse
import subprocess
import sys
import types
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from demoe.app import cli, networks, photos
from demoe.core import images
from demoe.data.real.roots import Roots
from demoe.models import checkpoints
from demoe.models.demoe import DeMoE, DeMoEConfig


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A DeMoE that changes nothing, in a file."""
    torch.manual_seed(0)
    model = DeMoE(DeMoEConfig(width=2, encoder_blocks=(1, 1), middle_blocks=1, decoder_blocks=(1, 1)))
    torch.nn.init.zeros_(model.ending.weight)
    torch.nn.init.zeros_(model.ending.bias)
    return str(checkpoints.save(model, tmp_path_factory.mktemp("weights") / "identity.safetensors"))


@pytest.fixture
def run(weights, tmp_path, monkeypatch, capsys):
    """``run(words...)`` in an empty folder: (exit status, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def call(*words, network=weights):
        extra = ["--weights", network, "--device", "cpu"] if words[0] == "deblur" and network else []
        try:
            status = cli.main([*map(str, words), *extra])
        except SystemExit as error:
            status = error.code
        return status, *capsys.readouterr()

    return call


def picture(path, size=(12, 9), mode="RGB", seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 4), dtype=np.uint8)
    Image.fromarray(array).convert(mode).save(path)
    return images.read_photograph(path).pixels


def files_below(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_one_photograph(run, tmp_path):
    pixels = picture(tmp_path / "photo.png")
    status, out, err = run("deblur", "photo.png", "-o", "out")
    assert status == 0 and err == ""
    first, *rest = out.splitlines()
    assert first.startswith("photo.png -> out/photo.png  (12x9, whole, ")
    assert [line.split(":")[0] for line in rest[:3]] == ["  router", "  expert", "  change"]
    assert "entropy 1.00 of 1" in rest[0] and "0.00 of 255 levels on average, inf dB" in rest[2]
    assert sum("warning: nearly unchanged" in line for line in rest) == 1  # the network changes nothing
    assert (
        sum("warning: the router is unsure: all but low_light took part" in line for line in rest) == 1
        and len(rest) == 5
    )
    assert torch.equal(images.read_photograph(tmp_path / "out/photo.png").pixels, pixels)


def test_a_folder_of_everything(run, tmp_path):
    """Good pictures of every kind, bad ones and other files: the good ones are done, each bad one has its line."""
    folder = tmp_path / "in"
    good = [
        "a.png",
        "sub/b.JPG",
        "sub/c.Tiff",
        "d.webp",
        "e.bmp",
        "gray.png",
        "alpha.png",
        "cmyk.jpeg",
        "palette.png",
        "dot.png",
    ]
    modes = {"gray.png": "L", "alpha.png": "RGBA", "cmyk.jpeg": "CMYK", "palette.png": "P"}
    for seed, name in enumerate(good):
        picture(folder / name, (1, 1) if name == "dot.png" else (13, 11), modes.get(name, "RGB"), seed)
    deep = np.random.default_rng(0).integers(0, 65536, (7, 5, 3)).astype(np.uint16)
    for name in ("deep.png", "deep.tif"):
        images.write_photograph(folder / name, images.from_array(deep))
    good += ["deep.png", "deep.tif"]
    (folder / "text.png").write_text("these are words")
    (folder / "zero.jpg").touch()
    whole = (folder / "sub/b.JPG").read_bytes()
    (folder / "cut.jpg").write_bytes(whole[: len(whole) - 150])
    (folder / "notes.txt").write_text("skipped")
    (folder / "sub/clip.mp4").touch()
    status, out, err = run("deblur", "in", "-o", "out")
    assert status == 1
    assert files_below(tmp_path / "out") == sorted(good)
    lines = err.splitlines()
    assert sorted(line.split()[1] for line in lines[:-1]) == ["in/cut.jpg", "in/text.png", "in/zero.jpg"]
    assert all(line.startswith("demoe: ") for line in lines[:-1])
    assert lines[-1] == "12 deblurred (12 with warnings), 3 failed, 2 other files skipped"
    assert out.count(" -> ") == 12
    for name in good:
        before, after = images.read_photograph(folder / name), images.read_photograph(tmp_path / "out" / name)
        assert (after.size, after.gray, after.bit_depth) == (before.size, before.gray, before.bit_depth)
        assert (after.alpha is None) == (before.alpha is None)
        if not name.lower().endswith(("jpg", "jpeg")):
            assert torch.equal(after.pixels, before.pixels), name


def test_orientation(run, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.zeros((10, 20, 3), np.uint8)).save(tmp_path / "a.jpg", exif=exif)
    assert run("deblur", "a.jpg", "-o", "out")[0] == 0
    with Image.open(tmp_path / "out/a.jpg") as image:
        assert image.size == (10, 20) and image.getexif().get(0x0112, 1) == 1


def test_expert_and_k(run, tmp_path):
    picture(tmp_path / "a.png")
    status, out, _ = run("deblur", "a.png", "-o", "out", "--expert", "LOLBlur", "--k", "3")
    assert status == 0 and "expert: low_light (as asked)" in out and "unsure" not in out
    assert run("deblur", "a.png", "-o", "out2", "--expert", "auto")[0] == 0
    for words in (("--expert", "sharpen"), ("--k", "0"), ("--k", "6"), ("--device", "abacus")):
        status, out, err = run("deblur", "a.png", "-o", "out3", *words)
        assert status == 2 and words[1] in err and out == ""


def test_a_name_that_holds_less_than_the_content_gets_the_contents(run, tmp_path):
    picture(tmp_path / "with_alpha.png", mode="RGBA")
    (tmp_path / "with_alpha.png").rename(tmp_path / "with_alpha.jpg")
    status, out, _ = run("deblur", "with_alpha.jpg", "-o", "out")
    assert status == 0 and files_below(tmp_path / "out") == ["with_alpha.png"] and "its content is PNG" in out
    assert Image.open(tmp_path / "out" / "with_alpha.png").mode == "RGBA"


def test_inputs_are_never_replaced(run, tmp_path):
    picture(tmp_path / "a.png")
    (tmp_path / "link.png").symlink_to(tmp_path / "a.png")
    before = (tmp_path / "a.png").read_bytes()
    for words in (("a.png", "-o", "."), ("a.png", "-o", tmp_path / "x/.."), (".", "-o", "."), ("link.png", "-o", ".")):
        (tmp_path / "x").mkdir(exist_ok=True)
        status, out, err = run("deblur", *words, "--overwrite")
        assert status == 1 and "would replace an input" in err and out == ""
        assert (tmp_path / "a.png").read_bytes() == before and (tmp_path / "link.png").is_symlink()


def test_a_new_photograph_takes_no_older_ones_result(run, tmp_path):
    """Whose result is a PNG: what keeps its name keeps its result, the newcomer gets another."""
    picture(tmp_path / "in/a.png")
    assert run("deblur", "in", "-o", "out")[0] == 0
    before = (tmp_path / "out/a.png").read_bytes()
    Image.new("RGB", (12, 9), "gray").save(tmp_path / "in/a.avif")
    assert run("deblur", "in", "-o", "out", "--skip-existing")[0] == 0
    older, newer = (images.read_photograph(tmp_path / f"out/{name}.png").pixels for name in ("a", "a-2"))
    assert newer.std() < older.std() / 4 and (tmp_path / "out/a.png").read_bytes() == before  # the gray one


def test_existing_results_stay_unless_told(run, tmp_path):
    picture(tmp_path / "a.png")
    picture(tmp_path / "b.png")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/a.png").write_bytes(b"precious")
    status, _, err = run("deblur", "a.png", "b.png", "-o", "out")
    assert status == 1 and "use --skip-existing, --overwrite or another -o" in err
    assert err.splitlines()[-1] == "1 deblurred (1 with warnings), 0 failed, 1 left alone, 0 other files skipped"
    assert (tmp_path / "out/a.png").read_bytes() == b"precious" and (tmp_path / "out/b.png").exists()
    assert run("deblur", "a.png", "b.png", "-o", "out", "--overwrite")[0] == 0
    assert images.read_photograph(tmp_path / "out/a.png").size == (12, 9)


def test_same_names_do_not_collide(run, tmp_path):
    one, two = picture(tmp_path / "x/a.png", seed=1), picture(tmp_path / "y/a.png", seed=2)
    three = picture(tmp_path / "z/A.png", seed=3)
    status, out, _ = run("deblur", "x/a.png", "y", "z/A.png", "x/a.png", "./x/../x", "-o", "out")
    assert status == 0 and out.count(" -> ") == 3  # each once, however often it was named
    assert files_below(tmp_path / "out") == ["A-3.png", "a-2.png", "a.png"]
    for name, pixels in (("a", one), ("a-2", two), ("A-3", three)):
        assert torch.equal(images.read_photograph(tmp_path / f"out/{name}.png").pixels, pixels)


def test_results_inside_the_folder_are_no_input_next_time(run, tmp_path):
    picture(tmp_path / "in/a.png")
    assert run("deblur", "in", "-o", "in/out")[0] == 0
    status, out, _ = run("deblur", "in", "-o", "in/out", "--overwrite")
    assert status == 0 and out.count(" -> ") == 1
    assert files_below(tmp_path / "in") == ["a.png", "out/a.png"]


def test_usage(run, tmp_path):
    picture(tmp_path / "a.png")
    for words in (
        ("deblur", "a.png"),
        ("deblur", "-o", "out"),
        ("deblur", "a.png", "-o", "a.png"),
        ("deblur", "a.png", "-o", "b.jpg"),
        ("blur",),
        ("evaluate", "--profile", "huge"),
    ):
        status, out, err = run(*words)
        assert (
            status == 2
            and out == ""
            and err.startswith(f"usage: demoe {words[0]} " if words[0] != "blur" else "usage:")
        )
    assert files_below(tmp_path) == ["a.png"]


def test_other_failures_are_one_line(run, tmp_path, monkeypatch):
    picture(tmp_path / "a.png")
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").touch()
    (tmp_path / "w.safetensors").write_bytes(b"not weights")
    monkeypatch.delenv("DEMOE_WEIGHTS", raising=False)
    monkeypatch.setattr(networks, "PACKAGED_WEIGHTS", tmp_path / "none")
    monkeypatch.setenv("DEMOE_HOME", str(tmp_path / "none"))
    for words, options, expected in (
        (("nowhere.png",), {}, "nowhere.png does not exist"),
        (("nowhere",), {}, "nowhere does not exist"),
        (("notes.txt",), {}, "notes.txt has no image's suffix"),
        (("empty",), {}, "empty holds no photographs"),
        (("a.png",), {"network": None}, "--weights FILE"),
        (("a.png",), {"network": "gone.safetensors"}, "gone.safetensors"),
        (("a.png",), {"network": "w.safetensors"}, "w.safetensors"),
    ):
        status, out, err = run("deblur", *words, "-o", "out", **options)
        assert status == 1 and out == "" and expected in err
        assert err.startswith("demoe: ") and err.count("\n") == 1
    assert not (tmp_path / "out").exists()
    _, _, err = run("deblur", "a.png", "-o", "out", "--debug", network="w.safetensors")
    assert "Traceback" in err


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB\nmore"), "not enough memory"),
        (
            MemoryError("not enough memory for 9x8 pixels: 1 MiB are left"),
            "9x8 pixels: 1 MiB are left; close programs, or",
        ),
        (MemoryError(), "not enough memory for a picture of this size"),
        (RuntimeError("the output is not finite"), "a.png: the output is not finite"),
        (OSError(28, "No space left on device", "out/a.png"), "No space left"),
    ],
)
def test_a_failing_photograph_does_not_stop_the_others(run, tmp_path, monkeypatch, error, words):
    picture(tmp_path / "a.png")
    picture(tmp_path / "b.png")
    deblur = photos.deblur

    def sometimes(photo, **options):
        if photo.name == "a.png":
            raise error
        return deblur(photo, **options)

    monkeypatch.setattr(photos, "deblur", sometimes)
    status, out, err = run("deblur", "a.png", "b.png", "-o", "out")
    assert status == 1 and words in err and "Traceback" not in err
    assert files_below(tmp_path / "out") == ["b.png"] and out.count(" -> ") == 1


def test_interrupted(run, tmp_path, monkeypatch):
    picture(tmp_path / "a.png")

    def interrupt(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(photos, "deblur", interrupt)
    status, _, err = run("deblur", "a.png", "-o", "out")
    assert status == 130 and err == "demoe: interrupted\n"


def test_train_and_evaluate_hand_over_what_was_asked(run, monkeypatch, tmp_path):
    seen = {}

    def obtain(spec, setting, deadline, pairs, terms):
        assert "charbonnier" in terms  # losses of guests train any network
        seen["train"] = (spec.name, setting.profile.name, setting.seed, setting.roots, deadline, pairs)
        return types.SimpleNamespace(weights=tmp_path / "model.safetensors")

    def evaluate_network(args, setting, measured):
        seen["evaluate"] = vars(args) | {"setting": setting, "measured": measured}
        return 0

    monkeypatch.setenv("DEMOE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("demoe.experiments.obtain", obtain)
    monkeypatch.setattr("demoe.experiments.forget", lambda spec, setting: seen.update(fresh=spec.name))
    monkeypatch.setattr(
        "demoe.experiments.status.write_status", lambda setting: seen.update(status=(setting.seed, setting.roots))
    )
    monkeypatch.setattr("demoe.app.cli_evaluate.evaluate_network", evaluate_network)
    status, out, _ = run("train", "--experiment", "baseline", "--profile", "test", "--seed", "3", "--fresh")
    assert status == 0 and out.strip() == str(tmp_path / "model.safetensors")
    assert seen["train"] == ("baseline", "test", 3, Roots(), None, None) and seen["status"] == (3, Roots())
    assert seen["fresh"] == "baseline"
    run("train", "--data-root", str(tmp_path), "--sharp-images", str(tmp_path))
    assert (seen["train"][3].folder, seen["train"][3].sharp_images) == (tmp_path, tmp_path)
    assert run("train", "--data-root", str(tmp_path / "gone"))[0] == 1
    assert "Stage 2 (Section 3.4)" in run("train", "--list")[1]
    assert run("evaluate", "--weights", "w.pt", "--profile", "test", "--csv", "t.csv")[0] == 0
    options = seen["evaluate"]
    assert (
        options["experiment"] is None
        and str(options["weights"]) == "w.pt"
        and options["setting"].profile.name == "test"
    )
    assert options["measured"] == ["psnr", "ssim"] and not options["setting"].roots
    assert run("evaluate", "--metrics", "psnr,niqe", "--aligned")[0] == 0
    assert seen["evaluate"]["measured"] == ["psnr", "niqe", "aligned"] and seen["evaluate"]["weights"] is None


def test_help_does_not_wait_for_torch():
    slow = "{'torch', 'numpy', 'PIL', 'shtab'}"
    code = f"import sys; from demoe.app import cli; cli.command_parser(); print({slow} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
    done = subprocess.run([sys.executable, "-m", "demoe", "--help"], capture_output=True, text=True, check=True)
    assert "deblur" in done.stdout and "evaluate" in done.stdout


def test_cost_prints_and_writes_the_table(run, monkeypatch, tmp_path):
    columns = {"table": ["Table 1"], "row": ["DeMoE"], "params": [20_150_000], "macs": [11_050_000_000]}
    table = pd.DataFrame(columns | {"paper_params_m": [20.15], "paper_macs_g": [11.05], "note": [""]})
    monkeypatch.setattr("demoe.app.cli_cost.cost_table", lambda: table)
    monkeypatch.setattr("demoe.app.cli_cost.print_costs", print)
    status, out, _ = run("cost", "--csv", "new/cost.csv")
    assert status == 0 and "20150000" in out
    assert pd.read_csv(tmp_path / "new/cost.csv").equals(table.drop(columns="note"))


def test_export_and_weights_hand_over_what_was_asked(run, monkeypatch, tmp_path, weights):
    monkeypatch.setattr(
        "demoe.app.cli_photos.export_network", lambda model, output, **more: (output.name, sorted(more.items()))
    )
    status, out, _ = run("export", "net.onnx", "--expert", "GoPro", "--weights", weights)
    assert status == 0 and out == "('net.onnx', [('expert', 'synth_global_motion'), ('k', 1), ('origin', {})])\n"
    assert "SHA-256" in run("weights", "--long")[1]


def test_warnings_are_sentences_while_a_command_runs_and_nobody_elses_change(capsys):
    def run(args, parser):
        print(warnings.formatwarning("bfloat16 is slow here", UserWarning, "/some/where.py", 3), end="")
        return 0

    usual, parser = warnings.formatwarning, argparse.ArgumentParser()
    parser.set_defaults(run=run)
    assert cli.execute(parser, []) == 0
    assert capsys.readouterr().out == "demoe: bfloat16 is slow here\n" and warnings.formatwarning is usual
