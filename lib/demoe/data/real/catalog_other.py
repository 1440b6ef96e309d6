"""The datasets outside AIO-Blur, described.

Facts are those of the datasets' own repositories and list files, or, where a comment says so, of repositories that read
them. Sizes are width x height.
"""

from __future__ import annotations

from .description import Dataset, Form

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
