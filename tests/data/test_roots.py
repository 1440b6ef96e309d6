import pytest

from demoe.data.real import catalog
from demoe.data.real.roots import Roots


@pytest.fixture(autouse=True)
def nowhere(home, monkeypatch):
    """No environment variable, and a project's root of its own."""
    monkeypatch.delenv("DEMOE_DATA_ROOT", raising=False)
    monkeypatch.delenv("DEMOE_SHARP_IMAGES", raising=False)
    return home


def test_nothing_said_is_nothing_to_look_at():
    roots = Roots.resolve(None)
    assert not roots and roots.find("GoPro") is None and not roots.explicit("GoPro")


def test_a_folder_for_all(tmp_path):
    roots = Roots.resolve(str(tmp_path))
    assert roots and roots.find("GoPro") == roots.find("HIDE") == tmp_path and not roots.explicit("HIDE")
    assert Roots.resolve(roots) is roots


def test_option_before_variable_before_file(tmp_path, monkeypatch):
    for name in ("option", "variable", "file"):
        (tmp_path / name).mkdir()
    (tmp_path / "data.toml").write_text('root = "file"\n')
    assert Roots.resolve().find("GoPro") == tmp_path / "file"
    monkeypatch.setenv("DEMOE_DATA_ROOT", str(tmp_path / "variable"))
    assert Roots.resolve().find("GoPro") == tmp_path / "variable"
    assert Roots.resolve(tmp_path / "option").find("GoPro") == tmp_path / "option"
    monkeypatch.setenv("DEMOE_DATA_ROOT", str(tmp_path / "data.toml"))
    assert Roots.resolve().find("GoPro") == tmp_path / "file"


def test_a_toml_file(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    (tmp_path / "all").mkdir()
    file = tmp_path / "sets.toml"
    file.write_text(
        'root = "all"\n[datasets]\nGoPro = "../GOPRO_Large"\nrealblur_j = "/abs/RealBlur"\n'
        'LOL-Blur = "~/lol"\n"Real-LOL-Blur" = "r"\n'
    )
    roots = Roots.resolve(file)
    assert roots.find("gopro") == tmp_path / "../GOPRO_Large" and roots.explicit("GoPro")
    assert str(roots.find("RealBlur-J")) == "/abs/RealBlur" and roots.find("LOLBlur") == tmp_path / "me/lol"
    assert roots.find("Real-LOLBlur") == tmp_path / "r"
    assert roots.find("DPDD") == tmp_path / "all" and not roots.explicit("DPDD")
    file.write_text('[datasets]\nHIDE = "h"\n')
    assert Roots.resolve(file) and Roots.resolve(file).find("DPDD") is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("root = ", "sets.toml is no valid TOML"),
        ('rot = "x"', "'rot' means nothing here"),
        ('[datasets]\nGoPor = "x"', "unknown dataset 'GoPor'.*GoPro"),
        ("[datasets]\nGoPro = 3", "datasets.GoPro must be the path of a folder in quotes, not 3"),
        ('datasets = "x"', r"datasets must be a table, \[datasets\]"),
        ('[datasets]\nGoPro = "x"\nGOPRO_Large = "y"', "GoPro is named twice"),
        ('root = ""', "root must be the path of a folder in quotes"),
    ],
)
def test_a_bad_toml_file(tmp_path, text, message):
    file = tmp_path / "sets.toml"
    file.write_text(text)
    with pytest.raises(ValueError, match=message):
        Roots.resolve(file)


def test_roots_that_are_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"--data-root: .*gone does not exist"):
        Roots.resolve(tmp_path / "gone")
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(ValueError, match="neither a folder nor a"):
        Roots.resolve(tmp_path / "a.txt")
    (tmp_path / "sets.toml").write_text('root = "gone"')
    with pytest.raises(FileNotFoundError, match=r"sets.toml: root: there is no folder .*gone"):
        Roots.resolve(tmp_path / "sets.toml")


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("gopro", "GoPro"),
        ("RealBlur-J", "RealBlur"),
        ("realblur_j", "RealBlur"),
        ("LOL-Blur", "LOLBlur"),
        ("Real_LOL_Blur", "Real-LOLBlur"),
        ("lolv2_real", "LOLv2-real"),
        ("LOLv2", "LOLv2-real"),
        ("hide", "HIDE"),
        ("RS-Blur", "RSBlur"),
        ("realdof", "RealDOF"),
        ("dpdd", "DPDD"),
        ("reloblur", "ReLoBlur"),
    ],
)
def test_names_as_people_type_them(typed, name):
    assert catalog.get(typed).name == name


def test_a_file_chooses_variants_and_depth(tmp_path):
    (tmp_path / "sets.toml").write_text('root = "."\nbits = 16\n[variants]\ngopro = "blur_gamma"\n')
    roots = Roots.resolve(tmp_path / "sets.toml")
    assert roots.variants == {"GoPro": "blur_gamma"} and roots.bits == 16
    (tmp_path / "sets.toml").write_text('root = "."\n[variants]\nGoPro = "gamma"\n')
    with pytest.raises(ValueError, match=r"sets\.toml: GoPro has no variant 'gamma': choose one of blur, blur_gamma"):
        Roots.resolve(tmp_path / "sets.toml")
    (tmp_path / "sets.toml").write_text('root = "."\nbits = 12\n')
    with pytest.raises(ValueError, match=r"sets\.toml: bits must be 8 or 16, not 12"):
        Roots.resolve(tmp_path / "sets.toml")
