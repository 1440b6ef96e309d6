"""Small trees in the layouts that the datasets have on disk. Names are the real patterns, pictures are made up."""

import io
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
from PIL import Image
from scipy.ndimage import uniform_filter, zoom


def picture(seed, size=(40, 28), blurred=False, dark=1.0):
    """(H, W, 3) uint8 of ``size`` (width, height): coarse shapes of its own and fine detail; ``blurred`` smears it."""
    rng = np.random.default_rng(zlib.crc32(str(seed).encode()))
    width, height = size
    coarse = zoom(rng.random((7, 10, 3)), (height / 7, width / 10, 1), order=1)
    sharp = 40 + 150 * coarse + rng.normal(0, 18, (height, width, 3))
    image = uniform_filter(sharp, (5, 5, 1)) if blurred else sharp
    return (image * dark).clip(0, 255).astype(np.uint8)


def encoded(array, bits=8):
    if bits == 16:
        low = np.random.default_rng(0).integers(0, 256, array.shape)
        return imagecodecs.png_encode((array.astype(np.uint16) << 8) | low.astype(np.uint16))
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, "PNG", compress_level=1)
    return stream.getvalue()


def put(file: Path, array, bits=8):
    file.parent.mkdir(parents=True, exist_ok=True)
    data = encoded(array, bits)
    if file.suffix.lower() in (".jpg", ".jpeg", ".bmp", ".tif"):
        Image.fromarray(array).save(file)
    else:
        file.write_bytes(data)
    return file


def put_pair(root: Path, blurred: str, sharp: str, size=(40, 28), bits=8, dark=1.0):
    """A blurred and a sharp picture of one scene, which is its own for every pair."""
    seed = f"{blurred} {sharp}"
    put(root / blurred, picture(seed, size, True, dark), bits)
    put(root / sharp, picture(seed, size), bits)
    return root / blurred, root / sharp


def put_lmdb(folder: Path, pictures: dict[str, np.ndarray]):
    """As BasicSR writes it: a key is the name up to its first dot."""
    import lmdb

    folder.mkdir(parents=True)
    lines = []
    with lmdb.open(str(folder), map_size=1 << 24) as environment, environment.begin(write=True) as transaction:
        for name, array in pictures.items():
            transaction.put(name.split(".")[0].encode(), encoded(array))
            lines.append(f"{name.split('.')[0]}.png ({array.shape[0]},{array.shape[1]},3) 1\n")
    (folder / "meta_info.txt").write_text("".join(lines))


# dataset, layout, split, root below the data root, [(blurred, sharp)]
LAYOUTS = [
    (
        "GoPro",
        "official",
        "train",
        "GOPRO_Large",
        [(f"train/GOPR0372_07_00/blur/0000{n}.png", f"train/GOPR0372_07_00/sharp/0000{n}.png") for n in (47, 48, 50)],
    ),
    (
        "GoPro",
        "official",
        "test",
        ".",
        [
            (f"test/{s}/blur/{n:06d}.png", f"test/{s}/sharp/{n:06d}.png")
            for s, n in (("GOPR0384_11_00", 1), ("GOPR0384_11_00", 2), ("GOPR0384_11_05", 4001))
        ],
    ),
    (
        "GoPro",
        "G1",
        "test",
        "GoPro",
        [(f"test/input/GOPR0384_11_00-00000{n}.png", f"test/target/GOPR0384_11_00-00000{n}.png") for n in (1, 2)],
    ),
    (
        "GoPro",
        "G2",
        "test",
        ".",
        [
            (f"test/GoPro/input/GOPR0384_11_00-00000{n}.png", f"test/GoPro/target/GOPR0384_11_00-00000{n}.png")
            for n in (1, 2)
        ],
    ),
    (
        "GoPro",
        "G3",
        "train",
        "Downloads/GoPro",
        [(f"input/GOPR0372_07_00-0000{n}.png", f"target/GOPR0372_07_00-0000{n}.png") for n in (47, 48)],
    ),
    (
        "GoPro",
        "G1",
        "test",
        "GOPRO",
        [(f"test/blur/GOPR0384_11_00_00000{n}.png", f"test/sharp/GOPR0384_11_00_00000{n}.png") for n in (1, 2)],
    ),
    (
        "GoPro",
        "G4",
        "test",
        "GoPro",
        [(f"test/blur/GOPR0384_11_00/00000{n}.png", f"test/sharp/GOPR0384_11_00/00000{n}.png") for n in (1, 2)],
    ),
    (
        "GoPro",
        "G3",
        "test",
        "gopro_testset",
        [(f"blur/GOPR0384_11_05_blur_{n}.png", f"sharp/GOPR0384_11_05_sharp_{n}.png") for n in (4001, 4002)],
    ),
    (
        "GoPro",
        "G1",
        "test",
        "gopro",
        [(f"test/input/GOPR0384_11_00_00000{n}.png", f"test/groundtruth/GOPR0384_11_00_00000{n}.png") for n in (1, 2)],
    ),
    (
        "GoPro",
        "G4",
        "train",
        "GoPro",
        [(f"train_GT_blurred/GOPR0372_07_00/0000{n}.png", f"train_GT/GOPR0372_07_00/0000{n}.png") for n in (47, 48)],
    ),
    (
        "GoPro",
        "G6",
        "train",
        "GoPro",
        [
            (
                f"train/blur_crops/GOPR0372_07_00-000047_s00{n}.png",
                f"train/sharp_crops/GOPR0372_07_00-000047_s00{n}.png",
            )
            for n in (1, 2)
        ],
    ),
    (
        "GoPro",
        "G6",
        "train",
        ".",
        [
            (
                f"train/GoPro/input_crops/GOPR0372_07_00-000047-{n}.png",
                f"train/GoPro/target_crops/GOPR0372_07_00-000047-{n}.png",
            )
            for n in (1, 2)
        ],
    ),
    (
        "RealBlur",
        "G1",
        "test",
        "RealBlur_J",
        [(f"test/input/scene002_blur_{n}.png", f"test/target/scene002_gt_{n}.png") for n in (2, 10)],
    ),
    (
        "RealBlur",
        "G2",
        "test",
        ".",
        [
            (f"test/RealBlur_J/input/scene002_blur_{n}.png", f"test/RealBlur_J/target/scene002_blur_{n}.png")
            for n in (2, 10)
        ],
    ),
    (
        "RealBlur",
        "G3",
        "test",
        "RealBlur_J",
        [(f"input/scene230_{n}.png", f"target/scene230_{n}.png") for n in (7, 10)],
    ),
    (
        "RealBlur",
        "G2",
        "test",
        "RealBlur",
        [
            (f"test/RealBlur_J/input/RB_scene218_blur_{n}.png", f"test/RealBlur_J/target/RB_scene218_blur_{n}.png")
            for n in (7, 10)
        ],
    ),
    (
        "RealBlur",
        "G4",
        "test",
        "Realblur_J",
        [(f"test/blur/scene230/blur_{n}.png", f"test/sharp/scene230/gt_{n}.png") for n in (2, 10)],
    ),
    (
        "RealBlur",
        "G1",
        "test",
        "RealBlur/RealBlur_J",
        [(f"test/blur/scene230_blur_{n}.png", f"test/sharp/scene230_gt_{n}.png") for n in (2, 10)],
    ),
    (
        "ReLoBlur",
        "official",
        "train",
        "ReLoBlur",
        [(f"train/s01/00/0{n}_blur.png", f"train/s01/00/0{n}_sharp.png") for n in (0, 1)],
    ),
    (
        "ReLoBlur",
        "official",
        "test",
        "data/dataset",
        [(f"test/scene7/0{c}/00_blur.png", f"test/scene7/0{c}/00_sharp.png") for c in (0, 1)],
    ),
    ("ReLoBlur", "G1", "test", "ReLoBlur", [(f"test/input/{n}.png", f"test/target/{n}.png") for n in ("a", "b")]),
    (
        "LOLBlur",
        "official",
        "test",
        "LOLBlur",
        [(f"test/low_blur_noise/{k}.png", f"test/high_sharp_scaled/{k}.png") for k in ("0012/0032", "0256/0089")],
    ),
    (
        "LOLBlur",
        "official",
        "test",
        "LOLBlur/test",
        [(f"test/low_blur_noise/{k}.png", f"test/high_sharp_scaled/{k}.png") for k in ("0012/0032", "0256/0089")],
    ),
    (
        "LOLBlur",
        "G1",
        "test",
        "LOL-Blur",
        [
            (f"Test/low_blur_noise_all/{k}.png", f"Test/high_sharp_scaled_all/{k}.png")
            for k in ("0012_0032", "0256_0089")
        ],
    ),
    (
        "LOLBlur",
        "G1",
        "test",
        "LOLBlur",
        [
            (f"test_wo_folder/low_blur_noise/{k}.png", f"test_wo_folder/high_sharp_scaled/{k}.png")
            for k in ("0012_0032", "0256_0089")
        ],
    ),
    (
        "DPDD",
        "official",
        "test",
        "dd_dp_dataset_canon",
        [
            (f"test_c/source/1P0A{a}.png", f"test_c/target/1P0A{b}.png")
            for a, b in (("0917", "0916"), ("0984", "0985"), ("1983", "1985"))
        ],
    ),
    (
        "DPDD",
        "official",
        "val",
        "Test_sets/DPDD",
        [(f"val_c/source/1P0A{a}.png", f"val_c/target/1P0A{b}.png") for a, b in (("0894", "0895"), ("2027", "2029"))],
    ),
    (
        "DPDD",
        "G2",
        "test",
        ".",
        [
            (f"test/DPDD/inputC/1P0A{a}.png", f"test/DPDD/target/1P0A{b}.png")
            for a, b in (("0917", "0916"), ("0933", "0932"))
        ],
    ),
    (
        "DPDD",
        "G1",
        "train",
        "Downloads/DPDD",
        [(f"train/inputC/1P0A{a}.png", f"train/target/1P0A{a}.png") for a in ("0890", "0892")],
    ),
    ("DPDD", "G1", "test", "DPDD", [(f"test/input/{n}.png", f"test/target/{n}.png") for n in ("0001", "0002")]),
    (
        "DPDD",
        "G6",
        "train",
        ".",
        [(f"train/DPDD/inputC_crops/1P0A0890-{n}.png", f"train/DPDD/target_crops/1P0A0890-{n}.png") for n in (1, 2)],
    ),
    ("RealDOF", "official", "test", "RealDOF", [(f"source/{n}.png", f"target/{n}.png") for n in ("01", "02")]),
    (
        "RealDOF",
        "official",
        "test",
        "RealDOF",
        [("source/DSC00002.png", "target/DSC00001.png"), ("source/DSC00010.png", "target/DSC00011.png")],
    ),
    (
        "RealDOF",
        "official",
        "test",
        "RealDOF_testset",
        [(f"test_c/source/{n}.png", f"test_c/target/{n}.png") for n in ("01", "02")],
    ),
    ("RealDOF", "G3", "test", "REALDOF", [(f"input/{n}.png", f"target/{n}.png") for n in ("01", "02")]),
    ("RealDOF", "G1", "test", "RealDOF", [(f"test/input/{n}.png", f"test/target/{n}.png") for n in ("01", "02")]),
    (
        "RSBlur",
        "G1",
        "test",
        "RSBlur",
        [(f"test/input/RSBlur_{k}.png", f"test/target/RSBlur_{k}.png") for k in ("0001_000022", "0002_000022")],
    ),
    (
        "LOLv2-real",
        "official",
        "train",
        "LOL-v2",
        [(f"Real_captured/Train/Low/low0000{n}.png", f"Real_captured/Train/Normal/normal0000{n}.png") for n in (1, 2)],
    ),
    (
        "LOLv2-real",
        "official",
        "test",
        "LOL-v2",
        [(f"Real_captured/test/Low/low0073{n}.png", f"Real_captured/test/Normal/normal0073{n}.png") for n in (3, 4)],
    ),
    (
        "LOLv2-real",
        "official",
        "test",
        "LOLv2/Real_captured",
        [(f"Test/Low/0069{n}.png", f"Test/Normal/0069{n}.png") for n in (0, 1)],
    ),
    (
        "LOLv2-real",
        "official",
        "test",
        "LOL-v2",
        [(f"Our_low_test/low0069{n}.png", f"Our_normal_test/normal0069{n}.png") for n in (0, 1)],
    ),
    (
        "LOLv2-real",
        "official",
        "train",
        "LOL-v2",
        [(f"Our_low/low0000{n}.png", f"Our_normal/normal0000{n}.png") for n in (1, 2)],
    ),
    (
        "HIDE",
        "official",
        "test",
        "HIDE_dataset",
        [
            ("test/test-close-ups/1fromGOPR0950.png", "GT/1fromGOPR0950.png"),
            ("test/test-long-shot/1fromGOPR1096.MP4.png", "GT/1fromGOPR1096.MP4.png"),
        ],
    ),
    (
        "HIDE",
        "official",
        "train",
        "HIDE_dataset/HIDE_dataset",
        [(f"train/{n}fromGOPR0950.png", f"GT/{n}fromGOPR0950.png") for n in (2, 10)],
    ),
    (
        "HIDE",
        "G1",
        "test",
        "HIDE",
        [(f"test/input/{n}.png", f"test/target/{n}.png") for n in ("1fromGOPR0950", "1fromGOPR1096.MP4")],
    ),
    (
        "HIDE",
        "G2",
        "test",
        ".",
        [(f"test/HIDE/input/{n}.png", f"test/HIDE/target/{n}.png") for n in ("1fromGOPR0950", "1fromGOPR1096.MP4")],
    ),
    (
        "HIDE",
        "G3",
        "test",
        "HIDE",
        [(f"blur/{n}.png", f"sharp/{n}.png") for n in ("1fromGOPR0950", "1fromGOPR1096.MP4")],
    ),
    (
        "HIDE",
        "G1",
        "test",
        "HIDE",
        [(f"test/input/{n}.png", f"test/groundtruth/{n}.png") for n in ("1fromGOPR0950", "1fromGOPR1096.MP4")],
    ),
]


def plant(home: Path, root: str, pairs, **options):
    """The tree of one entry of ``LAYOUTS``; its (blurred, sharp) paths."""
    return [put_pair(home / root, blurred, sharp, **options) for blurred, sharp in pairs]


def plant_realblur(home: Path, lists=True):
    """Two training scenes and one of the test, with more on the disk than the lists name."""
    root = home / "RealBlur"
    place = "RealBlur-J_ECC_IMCORR_centroid_itensity_ref"
    names = {"train": [("183", 1), ("183", 7)], "test": [("002", 2), ("002", 10)]}
    for scene, number in [*names["train"], *names["test"], ("002", 1)]:
        put_pair(root, f"{place}/scene{scene}/blur/blur_{number}.png", f"{place}/scene{scene}/gt/gt_{number}.png")
    for split, pairs in names.items() if lists else ():
        lines = [f"{place}/scene{s}/gt/gt_{n}.png {place}/scene{s}/blur/blur_{n}.png" for s, n in pairs]
        (root / f"RealBlur_J_{split}_list.txt").write_text(" \n".join(lines))
    return root


def plant_rsblur(home: Path, nested=False, lists=True):
    root = home / "RSBlur" / "RSBlur" if nested else home / "RSBlur"
    keys = {"train": ["0001/000022", "0002/000022"], "val": ["0001/000030"], "test": ["0002/000001"]}
    for key in (one for some in keys.values() for one in some):
        put_pair(root, f"{key}/real_blur/real_blur.png", f"{key}/gt/gt_sharp.png")
        for other in ("avg65_img", "avg65_mask_100"):
            put(root / key / other / "avg_blur.png", picture(other + key))
    for split, some in keys.items() if lists else ():
        lines = "".join(f"RSBlur/{k}/gt/gt_sharp.png RSBlur/{k}/real_blur/real_blur.png\n" for k in some)
        (home / "RSBlur" / f"RSBlur_real_{split}.txt").write_text(lines)
    return root
