"""Region, modality and anomaly of records: who is believed, what is said of it, what a person may correct."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from irmsia.datasets.anomalies import ANOMALIES
from irmsia.datasets.evidence import MODALITIES, REGIONS, WORDS
from irmsia.datasets.field_corrections import (
    BY_FILE,
    Corrector,
    make_correction,
    parse_corrections,
    parse_setting,
)
from irmsia.datasets.fingerprint import UNSURE, Guess
from irmsia.datasets.organise import is_labelled, is_unlabelled, labelled_share, needs_pixels, organise
from irmsia.datasets.record import LabelSource, Record, Told, from_json, to_json
from irmsia.errors import InvalidRequestError

CHEST = Guess("chest", "X-RAY", 0.75, 0.75)
HEADER = Told("chest", "DICOM BodyPartExamined")
MR = Told("MRI", "DICOM Modality")


def _record(path: str = "a.png", **fields: object) -> Record:
    return replace(Record(path, 1, 1, "00"), **fields)  # type: ignore[arg-type]


def _told(one: Record, **asked: object) -> Record:
    return organise([one], **asked).records[0]  # type: ignore[arg-type]


def _word(one: Record, field: str) -> str:
    value = getattr(one, field)
    assert value is not None
    return str(value.value)


def test_a_header_is_believed_before_names_and_pixels() -> None:
    """A DICOM tag wins over the folder and the fingerprint, and the disagreement is listed with both reasons."""
    organised = organise([_record("brain/a.dcm", region=HEADER, modality=MR)], look_at=lambda one: CHEST)
    assert organised.records[0].region == HEADER
    assert organised.records[0].modality == MR
    against = {(one.field, one.taken.value, one.against.value) for one in organised.conflicts}
    assert against == {("region", "chest", "brain"), ("modality", "MRI", "X-RAY")}
    assert {one.against.reason for one in organised.conflicts} == {'folder name says "brain"', "pixel fingerprint"}


def test_names_are_believed_before_pixels() -> None:
    """A name's word is taken before the fingerprint's."""
    named = _told(_record("brain_mri/a.png"), look_at=lambda one: CHEST)
    assert (_word(named, "region"), _word(named, "modality")) == ("brain", "MRI")


def test_pixels_speak_where_nothing_else_does() -> None:
    """Without header and name the fingerprint tells, with its measured confidence; unsure means other, confidence 0."""
    seen = _told(_record("x/1.png"), look_at=lambda one: CHEST)
    assert seen.region == Told("chest", "pixel fingerprint", 0.75)
    unsure = _told(_record("x/1.png"), look_at=lambda one: UNSURE)
    assert (_word(unsure, "region"), _word(unsure, "modality")) == ("other", "OTHER")
    assert unsure.region is not None and unsure.region.confidence == 0


def test_a_look_of_another_modality_counts_for_half() -> None:
    """A header that says CT makes the region of an X-ray look half as sure."""
    seen = _told(_record("x/1.dcm", modality=Told("CT", "DICOM Modality")), look_at=lambda one: CHEST)
    assert seen.region is not None and seen.region.confidence == pytest.approx(0.375)


def test_a_body_part_without_a_word_of_ours_yields_to_names_but_not_to_pixels() -> None:
    """BodyPartExamined that is none of our regions is "other", unless a name knows better."""
    neck = _record("x/1.dcm", region=Told("other", "DICOM BodyPartExamined"))
    assert _word(_told(neck, look_at=lambda one: CHEST), "region") == "other"
    knee = _told(replace(neck, path="knee/1.dcm"))
    assert _word(knee, "region") == "bone"
    assert "DICOM BodyPartExamined said other" in str(knee.region)


def test_a_modality_that_is_none_of_ours_stays_other_whatever_names_say() -> None:
    """A segmentation object called ct is no CT."""
    assert _word(_told(_record("ct/seg.dcm", modality=Told("OTHER", "DICOM Modality"))), "modality") == "OTHER"


NAMES = [
    ("chest_xray/train/NORMAL/IM-0115-0001.jpeg", "chest", "X-RAY"),
    ("Brain Tumor MRI/notumor/Te-no_0010.jpg", "brain", "MRI"),
    ("Dataset_BUSI_with_GT/benign/benign (1).png", "breast", "ULTRASOUND"),
    ("COVID-19_Radiography_Dataset/COVID/images/COVID-1.png", "chest", "X-RAY"),
    ("lgg-mri-segmentation/kaggle_3m/TCGA_CS_4941_19960909/TCGA_CS_4941_19960909_1.tif", "brain", "MRI"),
    ("CT-KIDNEY-DATASET/Stone/Stone- (1).jpg", "abdomen", "CT"),
    ("LiTS/liver_ct/volume-1.nii", "abdomen", "CT"),
    ("MURA-v1.1/train/XR_WRIST/patient00006/study1_positive/image1.png", "bone", "X-RAY"),
    ("BoneFractureXRay/fractured/1.jpg", "bone", "X-RAY"),
    ("CBIS-DDSM/mammography/mass/1.png", "breast", "MAMMOGRAPHY"),
    ("echocardiography/patient1/4ch.png", "cardiac", "ULTRASOUND"),
    ("cardiac-mri/chest/1.png", "cardiac", "MRI"),
    ("IRM cérébrale/1.png", "brain", "MRI"),
    ("knee-osteoarthritis-xray/3/9001.png", "bone", "X-RAY"),
]


@pytest.mark.parametrize(("path", "region", "modality"), NAMES)
def test_names_of_public_sets_are_understood(path: str, region: str, modality: str) -> None:
    """The names that well-known public sets come with tell region and modality."""
    organised = organise([_record(path)])
    assert (_word(organised.records[0], "region"), _word(organised.records[0], "modality")) == (region, modality)
    assert not organised.conflicts


def test_no_reason_holds_a_name() -> None:
    """A reason quotes our own word list and never the path, which may hold a patient's name."""
    one = _told(_record("DUPONT_JEAN_brain_mri/tumor_DUPONT.png"))
    assert "dupont" not in f"{one.region} {one.modality} {one.anomaly}".lower()


def test_the_anomaly_comes_from_label_mask_or_name_in_that_order() -> None:
    """A label says it; else a mask, empty or not; else a name of the file itself; else nobody knows."""
    labelled = _told(_record("pneumonia/1.png", label="NORMAL", label_source=LabelSource.FILE, mask_empty=False))
    assert _word(labelled, "anomaly") == "normal"
    masked = _told(_record("TCGA_CS_4941/1.tif", label="lesion", label_source=LabelSource.MASK, mask_empty=False))
    assert _word(masked, "anomaly") == "tumor"
    assert _word(_told(_record("a/1.tif", mask_empty=False)), "anomaly") == "other_anomaly"
    assert _word(_told(_record("tumor/1.tif", mask_empty=True)), "anomaly") == "normal"
    assert _word(_told(_record("x/person1_bacteria_2.jpeg")), "anomaly") == "infection"
    assert _told(_record("x/1.png"), titles=["chest_pneumonia"]).anomaly is None


def test_a_yes_is_a_yes_to_what_the_set_is_about() -> None:
    """Labels that only say "abnormal" take the anomaly that the names around them name."""
    assert _word(_told(_record("yes/1.png", label="yes"), titles=["brain_tumor"]), "anomaly") == "tumor"
    assert _word(_told(_record("1.png", label="positive"), titles=["mixed"]), "anomaly") == "other_anomaly"


def test_labels_without_meaning_are_listed() -> None:
    """Labels that no word explains are counted, so that a person can tell them."""
    organised = organise([_record("1.png", label="k3"), _record("2.png", label="k3"), _record("3.png", label="normal")])
    assert organised.unknown_labels == {"k3": 2}


def test_corrections_win_and_are_kept() -> None:
    """What a person says wins over a header with confidence 1, survives organising again, and can be taken back."""
    dicom = _record("a.dcm", region=HEADER)
    corrected = _told(dicom, corrections=[parse_setting("region=Breast")])
    assert corrected.region is not None and corrected.region.confidence == 1
    assert corrected.region.value == "breast"
    assert corrected.region.reason == "corrected by hand; DICOM BodyPartExamined said chest"
    again = organise([corrected], look_at=lambda one: UNSURE)
    assert again.records == (corrected,)
    assert [(one.taken.value, one.against.value) for one in again.conflicts] == [("breast", "chest")]
    assert _told(corrected, corrections=[parse_setting("region=auto")]).region == HEADER


def test_corrections_of_a_file_go_by_path_and_by_pattern() -> None:
    """A CSV corrects single files and whole patterns, the last row of a field holds, unused rows are told."""
    rows = b"path,field,value\r\n*,modality,ct\nsub/*,region,bone\nsub/1.png,region,cardiac\ngone.png,anomaly,tumor\n"
    records = [_record("sub/1.png"), _record("sub/deep/2.png"), _record("b [1].png")]
    organised = organise(
        records, corrections=[*parse_corrections(rows), make_correction("b [1].png", "region", "brain")]
    )
    assert [_word(one, "region") for one in organised.records] == ["cardiac", "bone", "brain"]
    assert {str(one.modality) for one in organised.records} == {str(Told("CT", BY_FILE, 1.0))}
    assert [one.pattern for one in organised.unused] == ["gone.png"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "columns path, field, value"),
        (b"file,field,value\n", "columns path, field, value"),
        (b"path,field,value\na,region,moon\n", "line 2 .* the region is one of brain"),
        (b"path,field,value\na,region,brain\nb,label,normal\n", "line 3 .* can be corrected"),
        (b"path,field,value\n,region,brain\n", "line 2 .* names a path"),
        (b"path,field,value\na\n", "line 2"),
        (b"\xff\xfe\x00\x01", "UTF-8"),
        (b'path,field,value\n"a,region,brain', "no CSV|line"),
        (b"path,field,value\n" + b"x" * 200_000, "no CSV|line"),
    ],
)
def test_a_malformed_correction_file_is_refused_with_its_line(content: bytes, says: str) -> None:
    """A wrong row is named by its line; nothing is guessed."""
    with pytest.raises(InvalidRequestError, match=says):
        parse_corrections(content)


@given(st.binary(max_size=400))
def test_no_bytes_break_the_correction_file(content: bytes) -> None:
    """Hostile bytes are corrections or one typed error."""
    for text in (content, b"path,field,value\n" + content):
        try:
            parse_corrections(text)
        except InvalidRequestError:
            continue


def test_a_setting_on_the_command_line_is_checked() -> None:
    """FIELD=VALUE with our words in any case; anything else is a typed error that lists the words."""
    assert parse_setting("modality=x-ray").value == "X-RAY"
    for wrong in ("region", "region=", "zone=brain", "anomaly=gastritis"):
        with pytest.raises(InvalidRequestError):
            parse_setting(wrong)


def test_only_what_nothing_tells_is_looked_at() -> None:
    """Pixels are read for readable files without header, name or correction."""
    assert needs_pixels(_record("1.png"))
    assert needs_pixels(_record("brain/1.png"))  # no modality
    assert not needs_pixels(_record("brain_mri/1.png"))
    assert not needs_pixels(_record("1.png", problem="TRUNCATED"))
    assert not needs_pixels(_record("1.dcm", region=HEADER, modality=MR))
    both = Corrector([parse_setting("region=brain"), parse_setting("modality=CT")])
    assert not needs_pixels(_record("1.png"), (), both)
    assert needs_pixels(_record("1.png", region=Told("brain", "corrected by hand")), (), Corrector([]))


def test_labelled_means_a_readable_image_with_a_label() -> None:
    """Broken files are neither labelled nor unlabelled."""
    good, bare, broken = _record(label="a"), _record(), _record(label="a", problem="TRUNCATED")
    assert [is_labelled(one) for one in (good, bare, broken)] == [True, False, False]
    assert [is_unlabelled(one) for one in (good, bare, broken)] == [False, True, False]
    assert labelled_share([good, bare, broken]) == 0.5
    assert labelled_share([broken]) == 0


PARTS = st.lists(
    st.sampled_from(["brain", "chest", "x ray", "MRI", "tumor", "a", "1", "normal", "cardiac"]), max_size=4
)
RECORDS = st.builds(
    lambda parts, region, label, modality: _record(
        "/".join([*parts, "f.png"]),
        region=Told(region, "DICOM BodyPartExamined") if region else None,
        modality=Told(modality, "DICOM Modality") if modality else None,
        label=label,
    ),
    PARTS,
    st.sampled_from([None, *REGIONS]),
    st.sampled_from([None, "normal", "glioma", "k3"]),
    st.sampled_from([None, *MODALITIES]),
)
CORRECTIONS = st.lists(
    st.one_of(
        st.builds(lambda value: make_correction("*", "region", value), st.sampled_from([*REGIONS, "auto"])),
        st.builds(lambda value: make_correction("*", "anomaly", value), st.sampled_from([*ANOMALIES, "auto"])),
    ),
    max_size=3,
)


@given(st.lists(RECORDS, max_size=4), CORRECTIONS)
def test_organising_twice_is_organising_once(records: list[Record], corrections: list) -> None:  # type: ignore[type-arg]
    """Organising what was organised changes nothing, forgets no header, and every word is of its vocabulary."""
    once = organise(records, corrections=corrections)
    twice = organise([from_json(to_json(one)) for one in once.records])
    assert twice.records == once.records
    for one in once.records:
        assert all(getattr(one, field).value in words for field, words in WORDS.items())
        assert one.anomaly is None or one.anomaly.value in ANOMALIES
    freed = organise(once.records, corrections=[make_correction("*", field, "auto") for field in (*WORDS, "anomaly")])
    assert freed.records == organise(records).records
