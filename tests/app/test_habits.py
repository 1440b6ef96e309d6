"""Habits of scripts: calls that can be repeated, records to read, silence, statuses to trust, words misspelt."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from demoe.app import cli, networks
from demoe.core.images import read_photograph
from demoe.models import checkpoints
from demoe.models.demoe import DeMoE, DeMoEConfig
from demoe.models.nafnet import NAFNet, NAFNetConfig

SIZES = {"width": 2, "encoder_blocks": (1,), "middle_blocks": 1, "decoder_blocks": (1,)}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Two networks that change nothing: a DeMoE and a NAFNet."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("weights")
    checkpoints.save(DeMoE(DeMoEConfig(**SIZES)), folder / "demoe.safetensors")
    checkpoints.save(NAFNet(NAFNetConfig(**SIZES)), folder / "nafnet.safetensors")
    return folder


@pytest.fixture
def run(weights, tmp_path, monkeypatch, call):
    """``run(words...)`` in a folder with two pictures: (exit status, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DEMOE_WEIGHTS", str(weights / "demoe.safetensors"))
    for seed, name in enumerate(("a.png", "b.png")):
        pixels = np.random.default_rng(seed).integers(0, 256, (9, 12, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / name)
    return call


def test_a_call_can_be_repeated(run, tmp_path):
    assert run("deblur", "a.png", "-o", "out")[0] == 0
    (tmp_path / "out/a.png").write_bytes(b"precious")
    status, out, err = run("deblur", "a.png", "b.png", "-o", "out", "--skip-existing")
    assert status == 0 and out.count(" -> ") == 1 and (tmp_path / "out/a.png").read_bytes() == b"precious"
    assert err == "1 deblurred (1 with warnings), 0 failed, 1 there already, 0 other files skipped\n"
    status, out, err = run("deblur", "a.png", "b.png", "-o", "out", "--skip-existing")
    assert (status, out, err) == (0, "", "0 deblurred, 0 failed, 2 there already, 0 other files skipped\n")
    status, _, err = run("deblur", "a.png", "-o", "out", "--skip-existing", "--overwrite")
    assert status == 2 and "not allowed with" in err


def test_what_lacks_beside_a_result_is_made_and_the_result_stays(run, tmp_path):
    assert run("deblur", "a.png", "-o", "out")[0] == 0
    (tmp_path / "out/a.png").write_bytes(b"precious")
    status, out, _ = run("deblur", "a.png", "-o", "out", "--skip-existing", "--compare")
    assert status == 0 and "compare: out/a.png.compare.png" in out
    assert (tmp_path / "out/a.png").read_bytes() == b"precious" and (tmp_path / "out/a.png.compare.png").exists()


def test_records_for_scripts(run, tmp_path):
    (tmp_path / "words.png").write_text("these are words")
    assert run("deblur", "b.png", "-o", "out")[0] == 0
    status, out, err = run("deblur", "words.png", "a.png", "b.png", "-o", "out", "--json", "--no-guard")
    assert status == 1 and err.count("\n") == 2  # the reasons, for a person
    words, left, done = map(json.loads, out.splitlines())
    assert (words["photograph"], words["outcome"]) == ("words.png", "failed") and "is not a PNG" in words["error"]
    assert (left["photograph"], left["outcome"], left["result"]) == ("b.png", "left alone", None)
    assert (done["photograph"], done["result"], done["outcome"]) == ("a.png", "out/a.png", "deblurred")
    assert (done["width"], done["height"], done["tile"]) == (12, 9, None) and done["seconds"] >= 0
    assert done["change"] == {"mean": 0.0, "psnr": None, "brightness": 0.0}  # infinity is no JSON
    assert sum(done["router"].values()) == pytest.approx(1) and done["weights"][done["expert"]] == 1
    assert len(done["warnings"]) == 2 and done["beside"] == {}
    (skipped,) = map(json.loads, run("deblur", "a.png", "-o", "out", "--json", "--skip-existing")[1].splitlines())
    assert skipped == {"photograph": "a.png", "result": "out/a.png", "outcome": "there already"}


def test_silence(run, tmp_path):
    assert run("deblur", "a.png", "b.png", "-o", "out", "--quiet") == (0, "", "")
    status, out, err = run("deblur", "gone.png", "a.png", "-o", "out2", "-q")
    assert (status, out, err) == (1, "", "demoe: gone.png does not exist\n")
    assert (tmp_path / "out2/a.png").exists()


def test_one_bad_argument_is_one_error(run, tmp_path, weights):
    nafnet = ("--weights", weights / "nafnet.safetensors")
    for words, expected in (
        (("--tile", "5"), "at least 256 pixels a side, in whole multiples of 16, not '5'"),
        (("--tile", "300"), "in whole multiples of 16"),
        (("--max-memory", "1M"), "--max-memory of 1 MiB is less than the program takes"),
        (("--expert", "defoucs"), "unknown expert 'defoucs' (did you mean 'defocus'?)"),
        ((*nafnet, "--expert", "defocus"), "this NAFNet has no experts to choose from"),
        ((*nafnet, "--expert-map"), "this NAFNet has no experts"),
        (("--overwite",), "unrecognized arguments: --overwite (did you mean '--overwrite'?)"),
        (("--route", "tiles"), "'tiles' (did you mean 'tile'?): choose one of image, tile"),
        (("--watch",), "looks after one folder"),
    ):
        status, out, err = run("deblur", "a.png", "b.png", "-o", "out", *words)
        assert status == 2 and out == "" and err.startswith("usage: demoe deblur ") and expected in err, words
        assert err.count("demoe deblur: error:") == 1
    assert not (tmp_path / "out").exists()


def test_a_file_that_is_no_picture_is_named_before_a_network_is_loaded(run, tmp_path, monkeypatch):
    (tmp_path / "words.jpg").write_text("these are words")
    monkeypatch.setattr(networks, "default_model", lambda *args: pytest.fail("loaded"))
    status, out, err = run("deblur", "words.jpg", "-o", "out")
    assert status == 1 and out == "" and "words.jpg is not a PNG, JPEG" in err


def test_misspelt_commands(run):
    status, _, err = run("deblr", "a.png")
    assert status == 2 and "unknown command 'deblr' (did you mean 'deblur'?): choose one of deblur, frames" in err
    status, _, err = run("weights", "fecth", "demoe")
    assert status == 2 and err.startswith("usage: demoe weights") and "(did you mean 'fetch'?)" in err


def test_help_has_examples_and_the_exit_statuses(run):
    status, out, _ = run("--help")
    assert status == 0 and "130  interrupted by Ctrl-C" in out
    for command in ("deblur", "frames", "export", "push", "completion"):
        status, out, _ = run(command, "--help")
        assert status == 0 and "examples:\n" in out and out.count(f"demoe {command} ") > 1


def test_every_example_is_a_command_that_makes_sense(run, tmp_path):
    """Those of ``--help`` are parsed; nothing runs."""
    import shlex

    def parsers(parser):
        yield parser
        for action in parser._actions:
            if hasattr(action, "choices") and isinstance(action.choices, dict):
                for sub in action.choices.values():
                    yield from parsers(sub)

    lines = [line for parser in parsers(cli.command_parser()) for line in (parser.epilog or "").splitlines()]
    examples = [line.strip() for line in lines if line.startswith("  demoe ")]
    assert len(examples) > 10
    for line in examples:
        words = shlex.split(line, comments=True)[1:]
        cli.command_parser().parse_args(words[: words.index(">")] if ">" in words else words)


def test_completion(run):
    for shell, words in (("bash", "complete -o"), ("zsh", "#compdef demoe"), ("tcsh", "complete demoe")):
        status, out, _ = run("completion", shell)
        assert status == 0 and words in out and "low_light" in out and "skip-existing" in out
    status, _, err = run("completion", "bsh")
    assert status == 2 and "did you mean 'bash'?" in err


def test_bash_completes_experts_and_options(run):
    script = run("completion", "bash")[1] + (
        '\ntry() { COMP_WORDS=("$@"); COMP_CWORD=$(($#-1)); COMP_LINE="$*"; COMPREPLY=(); _shtab_demoe; '
        'echo "${COMPREPLY[@]}"; }\n'
        "try demoe debl; try demoe deblur --skip; try demoe deblur --expert low; try demoe weights fe\n"
    )
    found = subprocess.run(["bash", "-c", script], capture_output=True, text=True).stdout.split()
    assert found == ["deblur", "--skip-existing", "low_light", "fetch"]


def test_ctrl_c_ends_with_130(tmp_path):
    code = (
        "import sys; from demoe.app import arguments, cli\n"
        "parser = arguments.Parser(prog='demoe'); arguments.flag(parser, '--debug', '')\n"
        "def run(args, parser): raise KeyboardInterrupt\n"
        "parser.set_defaults(run=run); sys.exit(cli.execute(parser, []))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 130 and done.stderr == "demoe: interrupted\n"


def test_results_are_the_same_whether_a_person_or_a_program_reads(run, tmp_path):
    for number, words in enumerate(((), ("--json",), ("--quiet",))):
        assert run("deblur", "a.png", "-o", f"out{number}", *words)[0] == 0
    first, *others = (read_photograph(tmp_path / f"out{number}/a.png").pixels for number in range(3))
    assert all(torch.equal(first, other) for other in others)
