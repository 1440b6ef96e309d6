"""The configuration of a training on own pairs: what a file may say, what is said of a slip, what is written."""

import json
import tomllib

import jsonschema
import pytest

from demoe.core.tasks import EXPERTS
from demoe.experiments.own_training import SCHEMA, OwnTraining, as_toml, configured, write_config


def test_a_written_file_is_read_back_as_it_was_and_fits_its_schema(tmp_path):
    config = OwnTraining(pairs='my "pairs" 📷\x7f', start="demoe-cpu", learn="expert GoPro", rate=3e-5, held_out=0.5)
    assert config.learn == "synth_global_motion"
    write_config(config, tmp_path / "a/train.toml")
    text = (tmp_path / "a/train.toml").read_text()
    assert configured(tmp_path / "a/train.toml", {}) == config
    assert text.startswith(f"#:schema ./{SCHEMA}\n")
    lines = text.splitlines()
    for key in OwnTraining.model_fields:  # each below its comment; those without a value in one
        place = next(i for i, line in enumerate(lines) if line.removeprefix("# ").startswith(f"{key} = "))
        assert lines[place - 1].startswith("# ")
    assert "# width = 32" in lines and "steps = 1000" in lines
    schema = json.loads((tmp_path / "a" / SCHEMA).read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(tomllib.loads(text), schema)
    for bad in ({"step": 3}, {"steps": 0}, {"learn": "nothing"}, {"precision": "half"}, {"held_out": 1}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(bad, schema)
    with pytest.raises(ValueError, match="is there already"):
        write_config(config, tmp_path / "a/train.toml")


def test_the_defaults_are_those_of_an_empty_file_and_flags_override(tmp_path):
    file = tmp_path / "train.toml"
    file.write_text("")
    assert configured(file, {}) == configured(None, {}) == OwnTraining()
    file.write_text("steps = 7\ncrop = 64\nrate = 1\n")
    assert configured(file, {"crop": 32}) == OwnTraining(steps=7, crop=32, rate=1.0)
    assert tomllib.loads(as_toml(OwnTraining())).keys() < OwnTraining.model_fields.keys()


@pytest.mark.parametrize(
    ("text", "flags", "words"),
    [
        ("step = 3", {}, "{file}: unknown key 'step' (did you mean 'steps'?)"),
        ("xyzzy = 3", {}, "{file}: unknown key 'xyzzy': known are pairs, start, learn, "),
        ("[steps]\nmany = 3", {}, "{file}: steps is {{'many': 3}}: input should be a valid integer"),
        ("steps = '3'", {}, "{file}: steps is '3': input should be a valid integer"),
        ("steps = true", {}, "{file}: steps is True: input should be a valid integer"),
        ("steps = 5", {"steps": 0}, "--steps is 0: input should be greater than or equal to 1"),
        ("", {"held_out": 1.0}, "--held-out is 1.0: input should be less than 1"),
        ("learn = 'defocsu'", {}, "{file}: learn is 'defocsu': unknown expert 'defocsu' (did you mean 'defocus'?)"),
        ("steps =", {}, "{file} is not TOML: "),
    ],
)
def test_a_slip_has_one_sentence_that_says_where(tmp_path, text, flags, words):
    file = tmp_path / "train.toml"
    file.write_text(text)
    with pytest.raises(ValueError) as slip:
        configured(file, flags)
    assert str(slip.value).startswith(words.format(file=file)) and "\n" not in str(slip.value)


@pytest.mark.parametrize("part", ["all", "decoder", "experts", *EXPERTS])
def test_every_part_can_be_said(part):
    assert OwnTraining(learn=part).learn == OwnTraining(learn=f"expert {part}").learn == part
