"""The five datasets that AIO-Blur is composed of, described.

Facts are those of the datasets' own repositories and list files, or, where a comment says so, of repositories that read
them. Sizes are width x height.
"""

from __future__ import annotations

from .description import Dataset, Form

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
