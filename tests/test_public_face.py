"""What ``import demoe`` gives: the public names, at once, and with their types."""

import subprocess
import sys
from importlib.resources import files

import demoe


def test_tab_offers_the_public_names_and_each_is_there():
    assert dir(demoe) == sorted(["__version__", *demoe.__all__])
    assert all(callable(getattr(demoe, name)) for name in demoe.__all__)


def test_importing_it_does_not_wait_for_torch():
    code = "import sys, demoe; dir(demoe); sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_photographs_and_frames_do_not_wait_for_what_tables_need():
    """pandas and SciPy take half a second to import, a third of what PyTorch takes."""
    slow = "{'pandas', 'scipy', 'skimage', 'sklearn', 'matplotlib', 'torchvision', 'huggingface_hub'}"
    code = f"import sys, demoe.app.cli_photos, demoe.app.cli_frames; sys.exit(repr({slow} & set(sys.modules) or ''))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stderr.strip() == "''"


def test_type_checkers_are_told_that_it_is_typed():
    assert files("demoe").joinpath("py.typed").is_file()
