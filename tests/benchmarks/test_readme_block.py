import pandas as pd
import pytest

from benchmarks.readme import readme_block

STAMP = {"channels": 32, "device": "cpu", "hardware": "a processor", "threads": 2, "torch": "2", "commit": "abc"}


def write(folder, ratio):
    folder.mkdir(exist_ok=True)
    rows = [
        {
            "case": "256x256",
            "batch": 1,
            "height": 256,
            "width": 256,
            "network": "DeMoE",
            "k": 1,
            "side": side,
            "precision": "float32",
            "allocator": allocator,
            "ms": 100.0,
            "ratio": ratio,
            "over_nafnet": 1.02,
        }
        for side in ("plain", "optimized")
        for allocator in ("raised", "default")
    ]
    pd.DataFrame(rows).assign(**STAMP).to_csv(folder / "inference.csv", index=False)
    memory = [
        {"case": case, "side": side, "precision": "float32", "allocator": "raised", "extra_bytes": size}
        for case, side, size in (
            ("1280x720", "plain", 8e9),
            ("1280x720", "optimized", 1e9),
            ("12 MP", "optimized", 4e9),
        )
    ]
    pd.DataFrame(memory).assign(**STAMP).to_csv(folder / "memory.csv", index=False)
    return readme_block(folder)


def test_the_block_follows_the_numbers(tmp_path):
    met, missed = write(tmp_path / "cpu", 3.25), write(tmp_path / "cpu", 1.25)
    assert "| one picture, 256x256 | 3.25 (2.6) | 3.25 (3) | - |" in met
    assert "| one picture, 256x256 | **1.25** (2.6) | **1.25** (3) | - |" in missed
    assert "0.12 of the plain side's extra memory (target 0.25)" in met and "4.0 GB in float32 (T; target 2.6)" in met
    assert "1.02 times as long as NAFNet" in met and "a processor" in met
    assert "4 of 5 targets" in met and "2 of 5 targets" in missed


def test_without_measurements_there_is_no_block(home):
    with pytest.raises(FileNotFoundError, match="python -m benchmarks"):
        readme_block()
