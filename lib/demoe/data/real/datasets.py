"""One description of each dataset: what it is called on disk, how its blurred and sharp pictures find each other, how
many there must be, where it comes from. ``layouts`` reads these descriptions, ``check`` holds data to them.

Facts are those of the datasets' own repositories and list files, or, where a comment says so, of repositories that read
them. Sizes are width x height.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

EXTRA = re.compile(r"[-_ ]")


def loose(name: str) -> str:
    """A folder's name as it is compared: lower case, without ``-``, ``_`` and spaces."""
    return EXTRA.sub("", name).lower()


@dataclass(frozen=True)
class Form:
    """A path below a dataset's folder, a regular expression for every part of it (any letter case), ``**`` = all below.

    ``<split>`` stands for train, val or test, ``<kind>`` for the words for blurred and sharp, ``<name>`` for the
    dataset's folder names. Where the path does not say it: ``role`` "blurred" or "sharp"; ``split``, with "any" for
    sharp pictures that serve all splits.
    """

    path: str
    role: str = ""
    split: str = ""


@dataclass(frozen=True, eq=False)
class Dataset:
    """What is known about a dataset. Patterns are regular expressions in which letter case does not matter."""

    name: str  # as everywhere in this package
    aliases: tuple[str, ...]  # other names that people type
    folders: tuple[str, ...]  # names of its folder
    marker: str  # its official layout, for people
    official: tuple[Form, ...]
    blurred: Mapping[str, tuple[str, ...]]  # variant -> words for its blurred pictures; the first is the default
    sharp: tuple[str, ...]  # words for its sharp pictures; empty for a set without them
    counts: Mapping[str, int]  # split -> pairs
    size: tuple[int, int] | None  # None: varies
    depth: int | None  # bits a sample; None: 8 or 16
    home: str
    licence: str
    download: str
    not_needed: str
    notes: tuple[str, ...]  # what goes wrong with it, for people
    weak_folders: tuple[str, ...] = ()  # names of its folder that other folders have as well
    foreign: Mapping[str, str] = field(default_factory=dict)  # pattern of a folder's name -> why it is another dataset
    typical: str = ""  # a path that belongs to this dataset wherever it is found
    key: str = ""  # found in the path below the dataset's folder; its groups are the key
    key_format: str = "{0}"
    stem: str = ""  # file names of flat copies; such a name with -N or _sNNN behind it is a training patch
    stray: str = ""  # names of pictures of another kind that people put beside them
    stray_why: str = ""
    group: str = ""  # what must not be in train and test at once: the whole "key", its "first" part, or "" nothing
    inner_suffix: str = ""  # what one side's names may have before the suffix, and the other's not
    pairing: str = "key"  # "key", or "numbers": the names differ by a camera's count
    cause: str = ""  # why pictures are missing, most likely
    known_counts: Mapping[str, Mapping[int, str]] = field(default_factory=dict)  # split -> {pairs: what that is}
    lists: Mapping[str, tuple[tuple[str, ...], ...]] = field(default_factory=dict)  # split -> alternatives, each united
    list_fields: int = 2  # sharp and blurred picture; 1: a file name
    loose_split: str = "test"  # of a copy without split folders
    split_by_list: bool = False  # the official tree has no folders for train and test
    dark: bool = False  # the blurred side is much darker than the sharp one
    ground_truth: bool = True

    @property
    def variants(self) -> tuple[str, ...]:
        """The choices of blurred pictures, the default first."""
        return tuple(self.blurred)

    def known_folder(self, name: str, weak: bool = True) -> bool:
        """Whether a folder of this name may hold the dataset; without ``weak``, only names that few others have."""
        names = {self.name, *self.aliases, *self.folders, *(self.weak_folders if weak else ())}
        return loose(name) in {loose(one) for one in names}

    def foreign_reason(self, name: str) -> str:
        """Why a folder of this name is not this dataset; "" if nothing speaks against it."""
        return next((why for pattern, why in self.foreign.items() if re.fullmatch(pattern, name, re.I)), "")


GOPRO = Dataset(
    name="GoPro",
    aliases=("GOPRO_Large",),
    folders=("GOPRO_Large", "GoPro", "gopro_testset", "gopro_trainset"),
    marker="{train,test}/GOPR*/{blur,blur_gamma,sharp}/NNNNNN.png",
    official=(Form(r"<split>/GOPR\d{4}_\d{2}_\d{2}/<kind>/**"),),
    blurred={"blur": ("blur",), "blur_gamma": ("blur_gamma",)},
    sharp=("sharp",),
    counts={"train": 2103, "test": 1111},
    size=(1280, 720),
    depth=8,
    typical=r"GOPR\d{4}_\d{2}_\d{2}[/_-]",
    key=r"(GOPR\d{4}_\d{2}_\d{2})(?:/(?:blur_gamma|blur|sharp)/|/|-|_|_(?:blur|sharp)_)(\d{4,6})",
    key_format="{0}/{1:0>6}",
    stem=r"GOPR\d{4}_\d{2}_\d{2}[-_](?:(?:blur|sharp)_)?\d{4,6}",
    group="first",
    cause="a download or an archive that ended early; MIMO-UNet's preparation also moves files out of the tree",
    lists={"train": (("datalist_gopro.txt",),)},
    foreign={"GOPRO_Large_all": "it holds sharp frames only, for making other blur; the dataset is GOPRO_Large.zip"},
    home="https://seungjunnah.github.io/Datasets/gopro",
    licence="CC BY 4.0",
    download="GOPRO_Large.zip (about 9 GB)",
    not_needed="GOPRO_Large_all.zip",
    notes=(
        "blur is the default, as in most tables; a model for blur scores about 3 dB less on blur_gamma",
        "MIMO-UNet's preparation moves blur and sharp out of the tree and leaves blur_gamma alone",
    ),
)

REALBLUR = Dataset(
    name="RealBlur",
    aliases=("RealBlur-J",),
    folders=("RealBlur", "RealBlur_J", "RealBlur-J_ECC_IMCORR_centroid_itensity_ref"),
    marker="RealBlur-J_ECC_IMCORR_centroid_itensity_ref/sceneNNN/{blur/blur_N.png,gt/gt_N.png}, "
    "RealBlur_J_{train,test}_list.txt",
    official=(Form(r"RealBlur-J_ECC.*/scene\d{3}/<kind>/**"), Form(r"scene\d{3}/<kind>/**")),
    blurred={"blur": ("blur",)},
    sharp=("gt",),
    counts={"train": 3758, "test": 980},
    size=None,
    depth=8,
    typical=r"RealBlur-J_ECC",
    key=r"(?:scene)?(\d{3})\D+0*(\d{1,2})(?=\.[^.]+$)",
    key_format="{0}/{1}",
    cause="all pictures of the scenes were taken instead of those in the lists, or the archive was unpacked in part",
    stem=r"(?:RB_)?(?:scene)?\d{3}_(?:(?:blur|gt)_)?\d{1,2}",
    group="first",
    lists={"train": (("RealBlur_J_train_list.txt",),), "test": (("RealBlur_J_test_list.txt",),)},
    split_by_list=True,
    foreign={
        r"RealBlur[-_]R(?:[-_].*)?": "it is developed from raw files, another set than RealBlur-J",
        r"RealBlur[-_]?J[-_]Tele.*": "RealBlur-J-Tele is another set than RealBlur-J",
    },
    home="https://cg.postech.ac.kr/research/RealBlur, https://github.com/rimchang/RealBlur",
    licence="CC BY 4.0",
    download="RealBlur.tar.gz, which holds the pictures and RealBlur_J_{train,test}_list.txt",
    not_needed="the RealBlur-R folder in it",
    notes=(
        "the lists decide which pictures are used: index 1 of the test scenes is in none, though it may be on the disk",
        "scores are customarily computed after an alignment, which adds 1 to 2 dB",
    ),
)

RELOBLUR = Dataset(
    name="ReLoBlur",
    aliases=(),
    folders=("ReLoBlur", "ReLoBlur_dataset"),
    weak_folders=("dataset",),
    marker="{train/sNN,test/sceneK}/CC/NN_{blur,sharp}.png",
    official=(
        Form(r"<split>/s(?:cene)?\d+/\d+/.+_<kind>\.\w+"),
        Form(r"ReLoBlur[-_ ]<split>/s(?:cene)?\d+/\d+/.+_<kind>\.\w+"),
    ),
    blurred={"blur": ("blur",)},
    sharp=("sharp",),
    counts={"train": 2010, "test": 395},
    size=(2152, 1436),
    depth=8,
    typical=r"(?:^|/)s(?:cene)?\d+/\d+/[^/]+_(?:blur|sharp)\.\w+$",
    key=r"(?:^|/)(s(?:cene)?\d+)/(\d+)/([^/]+)_(?:blur|sharp)\.\w+$",
    key_format="{0}/{1}/{2}",
    cause="Drive folders come in several parts; train/s09 was damaged in the first upload",
    known_counts={"train": {2009: "one short of 2010, as the paper's own copy may have been (its 4018 = 2 x 2009)"}},
    home="https://leiali.github.io/ReLoBlur_homepage, https://github.com/LeiaLi/ReLoBlur",
    licence="academic purposes only (no formal licence)",
    download='the folders "ReLoBlur train" (2010 pairs) and "ReLoBlur test" (395)',
    not_needed='"Local Blur Mask" (masks are counted, never required)',
    notes=(
        "train/s09/02, 04, 05 and 06 were empty and s09/03 damaged in the first upload; fetch these again",
        "a version of 538x359 goes round: it is a resized copy, not the benchmark",
    ),
)

LOLBLUR = Dataset(
    name="LOLBlur",
    aliases=("LOL-Blur",),
    folders=("LOLBlur", "LOL-Blur", "LOL_blur"),
    marker="{train,test}/{low_blur_noise,high_sharp_scaled}/SSSS/FFFF.png",
    official=(Form(r"<split>/<kind>/\d{4}/**"),),
    blurred={"low_blur_noise": ("low_blur_noise", "low_blur_noise_all"), "low_blur": ("low_blur", "low_blur_all")},
    sharp=("high_sharp_scaled", "high_sharp_scaled_all"),
    counts={"train": 10200, "test": 1800},
    size=(1120, 640),
    depth=8,
    typical=r"(?:^|/)(?:low_blur(?:_noise)?|high_sharp_scaled)(?:_all)?/",
    key=r"(\d{4})[/\\_-](\d{4})\.\w+$",
    key_format="{0}/{1}",
    stem=r"\d{4}[_-]\d{4}",
    cause="170 videos of 60 frames for training and 30 for testing: some are missing in part",
    group="first",
    dark=True,
    home="https://shangchenzhou.com/projects/LEDNet, https://github.com/sczhou/LEDNet",
    licence="none stated for the data (the code is under S-Lab License 1.0, non-commercial)",
    download="the train and test archives of LOL-Blur",
    not_needed="low_sharp and high_sharp_original; Real-LOL-Blur is a set of its own",
    notes=("the target is high_sharp_scaled; with high_sharp_original the brightness does not fit",),
)

DPDD = Dataset(
    name="DPDD",
    aliases=("DPD",),
    folders=("dd_dp_dataset_canon", "dd_dp_dataset_png", "DPDD"),
    marker="{train,val,test}_c/{source,target}/1P0A*.png",
    official=(Form(r"<split>_c/<kind>/**"),),
    blurred={"c": ("source", "inputC")},
    sharp=("target",),
    counts={"train": 350, "val": 74, "test": 76},
    size=(1680, 1120),
    depth=16,
    typical=r"(?:^|/)1P0A\d{4}",
    key=r"(1P0A\d{4})\.\w+$",
    key_format="{0}",
    stem=r"1P0A\d{4}",
    stray=r"_[LR]\.\w+$",
    stray_why="left and right views have no sharp pictures of their own",
    group="key",
    pairing="numbers",
    cause="an archive unpacked in part",
    foreign={
        "(?:train|val|test)_[lr]": "left and right views have no sharp pictures of their own; *_c is what is needed",
        "dd_dp_dataset_canon_patch": "it holds training patches cut by DPDNet's scripts",
        "dd_dp_dataset_pixel": "it has no sharp pictures",
    },
    home="https://github.com/Abdullah-Abuolaim/defocus-deblurring-dual-pixel",
    licence="none stated for the data (the code is MIT)",
    download="dd_dp_dataset_canon.zip (about 16 GB, 16-bit PNG), or IFAN's DPDD.zip, which is the same",
    not_needed="the raw CR2 files, dd_dp_dataset_pixel, and the _l and _r folders",
    notes=(
        "the names of a pair differ by 1 or 2: pairs are those of the published lists, so a missing file shifts none",
        "the benchmark's test split has 76 pictures; papers that print 350/75 round 70/15/15 % of 500",
    ),
)

REALDOF = Dataset(
    name="RealDOF",
    aliases=(),
    folders=("RealDOF", "RealDOF_testset"),
    marker="RealDOF/{source,target}/*.png",
    official=(Form(r"<kind>/**", split="test"), Form(r"<split>_c/<kind>/**")),
    blurred={"source": ("source",)},
    sharp=("target",),
    counts={"test": 50},
    size=None,
    depth=None,
    pairing="numbers",
    home="https://github.com/codeslake/IFAN",
    licence="none stated for the data (the code is AGPL-3.0)",
    download="RealDOF.zip",
    not_needed="",
    notes=("some works shrink it to 1680x1120 first; their scores cannot be compared",),
)

RSBLUR = Dataset(
    name="RSBlur",
    aliases=(),
    folders=("RSBlur",),
    marker="RSBlur/DDDD/IIIIII/{real_blur/real_blur.png,gt/gt_sharp.png}, RSBlur_real_{train,val,test}.txt",
    official=(Form(r"\d{4}/\d{6}/<kind>/**"),),
    blurred={"real_blur": ("real_blur",), "avg65_img": ("avg65_img",)},
    sharp=("gt",),
    counts={"train": 8878, "val": 1120, "test": 3360},
    size=(1920, 1200),
    depth=8,
    typical=r"(?:^|/)\d{4}/\d{6}/(?:real_blur|gt)/|RSBlur_\d{4}_\d{6}",
    key=r"(\d{4})[/\\_](\d{6})",
    key_format="{0}/{1}",
    stem=r"(?:RSBlur_)?\d{4}_\d{6}",
    group="key",
    known_counts={
        "test": {1626: "the saturated part of the test split", 1734: "the part of the test split without saturation"},
        "all": {13358: "train, val and test together"},
    },
    lists={
        "train": (("RSBlur_real_train.txt",), ("RSBlur_syn_train.txt",)),
        "val": (("RSBlur_real_val.txt",),),
        "test": (
            ("RSBlur_real_test.txt",),
            ("RSBlur_real_test_saturation.txt", "RSBlur_real_test_non_saturation.txt"),
            ("RSBlur_real_test_saturation.txt",),
            ("RSBlur_real_test_non_saturation.txt",),
        ),
    },
    loose_split="all",
    split_by_list=True,
    foreign={
        r"RSBlur[-_]additional": "its authors ask not to train on it as real pictures",
        r"RSBlur[-_]sharps?": "it holds sharp pictures only",
        r"GoPro_(?:INTER_ABME|U)": "it is made for synthesis, not part of RSBlur",
    },
    home="https://cg.postech.ac.kr/research/rsblur, https://github.com/rimchang/RSBlur",
    licence="CC BY 4.0",
    download="RSBlur.zip (13,358 pairs), and datalist/RSBlur/*.txt of the repository, into the same folder",
    not_needed="RSBlur_additional, RSBlur_sharps, GoPro_INTER_ABME.zip, GoPro_U.zip",
    notes=(
        "the lists are not in the zip, and without them there is no train, val and test: each day is in all three",
        "flat copies may hold the synthetic pictures (avg65_img) instead of the real ones: names do not tell",
    ),
)

REAL_LOLBLUR = Dataset(
    name="Real-LOLBlur",
    aliases=("Real-LOL-Blur",),
    folders=("Real-LOLBlur", "Real-LOL-Blur", "RealBlur-Night", "realblur_dataset_test", "real_lolblur_video"),
    weak_folders=("real_blur",),
    marker="no fixed one: SSSS_FFFF.png or SSSS/FFFF.png (Sony part) and NNN_blur_N.png (RealBlur part)",
    official=(),
    blurred={"sony": (), "realblur": (), "all": ()},
    sharp=(),
    ground_truth=False,
    counts={"test": 872},
    known_counts={"test": {482: "the part from RealBlur-J", 1354: "Sony 872 and RealBlur 482 together"}},
    size=None,
    depth=8,
    home="https://github.com/sczhou/LEDNet",
    licence="none stated for the data",
    download="Real-LOL-Blur (1354 pictures without sharp counterparts)",
    not_needed="its 482 night pictures from RealBlur-J, which DeMoE leaves out",
    notes=("DeMoE reports the 872 pictures of the Sony camera; the others overlap RealBlur-J's test split",),
)

LOLV2_REAL = Dataset(
    name="LOLv2-real",
    aliases=("LOLv2", "LOL-v2", "LOL-v2-real"),
    folders=("LOL-v2", "LOLv2", "Real_captured"),
    marker="Real_captured/{Train,Test}/{Low,Normal}/*.png",
    official=(
        Form(r"Real_captured/<split>/<kind>/**"),
        Form(r"<split>/<kind>/**"),
        Form(r"Our_<kind>/**", split="train"),
        Form(r"Our_<kind>_test/**", split="test"),
    ),
    blurred={"low": ("low",)},
    sharp=("normal",),
    counts={"train": 689, "test": 100},
    size=(600, 400),
    depth=8,
    typical=r"(?:^|/)Real_captured/|(?:^|/)(?:low|normal)\d{5}\.\w+$|(?:^|/)Our_(?:low|normal)(?:_test)?/",
    key=r"(?:^|/)(?:low|normal)?(\d+)\.\w+$",
    key_format="{0:0>5}",
    stem=r"(?:low|normal)?\d{3,5}",
    dark=True,
    foreign={
        r"LOL[-_]?v1|our485|eval15": "it is LOL version 1, another dataset",
        r"Synthetic": "it is the synthetic part of LOL-v2; the control is Real_captured",
    },
    home="https://github.com/flyywh/CVPR-2020-Semi-Low-Light",
    licence="none stated",
    download="LOL-v2",
    not_needed="the folder Synthetic; LOL version 1",
    notes=("scores with GT-mean scaling belong to another protocol",),
)

HIDE = Dataset(
    name="HIDE",
    aliases=("HIDE_dataset",),
    folders=("HIDE_dataset", "HIDE"),
    marker="{train,test/test-close-ups,test/test-long-shot,GT}/*.png",
    official=(
        Form(r"<split>/test-(?:close-ups?|long-shots?)/**", role="blurred"),
        Form(r"<split>/.+\.\w+", role="blurred"),
        Form(r"GT/**", role="sharp", split="any"),
    ),
    blurred={"blur": ()},
    sharp=(),
    counts={"train": 6397, "test": 2025},
    known_counts={"test": {8422: "train and test together; the benchmark is the 2025 of the test split"}},
    size=(1280, 720),
    depth=8,
    typical=r"(?:^|/)\d+fromGOPR\d+(?:\.MP4)?\.\w+$",
    key=r"([^/]+)\.\w+$",
    stem=r"\d+fromGOPR\d+(?:\.MP4)?",
    group="key",
    cause="Google Drive splits a download into several zips and may lose files",
    lists={"train": (("train.txt",),), "test": (("test.txt",),)},
    list_fields=1,
    inner_suffix=".MP4",
    home="https://github.com/joanshen0508/HA_deblur",
    licence="none stated",
    download="HIDE_dataset.zip",
    not_needed="depth-annotation.zip, quantity-annotation.zip",
    notes=("GT holds the sharp pictures of train and test; never pair it with test by order",),
)

DATASETS: tuple[Dataset, ...] = (
    REALBLUR, RELOBLUR, GOPRO, DPDD, LOLBLUR, REALDOF, RSBLUR, REAL_LOLBLUR, LOLV2_REAL, HIDE,
)  # fmt: skip
_BY_NAME = {loose(name): one for one in DATASETS for name in (one.name, *one.aliases)}


def get(name: str) -> Dataset:
    """The dataset called ``name``, in any letter case, with or without ``-`` and ``_``. ``ValueError`` names all."""
    try:
        return _BY_NAME[loose(name)]
    except KeyError:
        names = ", ".join(one.name for one in DATASETS)
        raise ValueError(f"unknown dataset {name!r}: known are {names}") from None
