from demoe.core.paper import published


def test_published_is_tidy():
    table = published()
    assert list(table.columns) == ["table", "method", "dataset", "metric", "value"]
    assert not table.isna().any(axis=None)
    assert not table.duplicated(["table", "method", "dataset", "metric"]).any()


def test_known_numbers_are_there():
    numbers = published().set_index(["table", "method", "dataset", "metric"])["value"]
    assert numbers["table1_aio", "DeMoE_k1", "-", "params_m"] == 20.15
    assert numbers["table1_aio", "PromptIR", "RealBlur", "psnr"] == 29.23
