import pytest

from demoe.report.paper import published, published_value


def test_published_is_tidy():
    table = published()
    assert list(table.columns) == ["table", "method", "dataset", "metric", "value"]
    assert not table.isna().any(axis=None)
    assert not table.duplicated(["table", "method", "dataset", "metric"]).any()


def test_one_number():
    assert published_value("table1_aio", "DeMoE_k1", "params_m") == 20.15
    assert published_value("table1_aio", "PromptIR", "psnr", "RealBlur") == 29.23
    with pytest.raises(KeyError, match="gives no psnr of 'DeMoE_k1'"):
        published_value("table1_aio", "DeMoE_k1", "psnr", "Kodak")
