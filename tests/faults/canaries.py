"""Patient values planted in image files, and the search for them, in any usual encoding, in whatever came out."""

from __future__ import annotations

import base64
import io
import random
import re
import string
import urllib.parse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image as PillowImage
from PIL.PngImagePlugin import PngInfo
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

from tests.imaging.samples import gradient, make_dataset, write

_TEXTS = {
    "PatientName": "PN", "OtherPatientNames": "PN", "ReferringPhysicianName": "PN", "OperatorsName": "PN",
    "PatientMotherBirthName": "PN", "PatientID": "ID", "AccessionNumber": "ID", "StudyID": "ID",
    "DeviceSerialNumber": "ID", "PatientTelephoneNumbers": "ID", "MilitaryRank": "LO", "PatientAddress": "LO",
    "InstitutionName": "LO", "InstitutionAddress": "LO", "StationName": "ID", "StudyDescription": "LO",
    "SeriesDescription": "LO", "ProtocolName": "LO", "ImageComments": "LO", "PatientComments": "LO",
    "AdditionalPatientHistory": "LO", "DerivationDescription": "LO", "RequestedProcedureDescription": "LO",
    "ContrastBolusAgent": "LO", "PatientBirthDate": "DA",
}  # fmt: skip
_SCRIPTS = {
    "ISO 2022 IR 87": ("iso2022_jp", 0x4E00 + 200),
    "GB18030": ("gb18030", 0x4E00 + 900),
    "ISO_IR 192": ("utf-8", 0xAC00),
    "ISO_IR 144": ("iso8859_5", 0x0410),
}
_DIGITS = re.compile(r"[0-9.-]+")


@dataclass(frozen=True)
class Canary:
    """One planted value. ``parts``: what gives it away on its own, such as either half of a name."""

    where: str
    value: str
    parts: tuple[str, ...]
    codec: str = "utf-8"


@dataclass
class Planter:
    """Makes values that no program would make by chance, and remembers them."""

    rng: random.Random = field(default_factory=lambda: random.Random("irmsia canaries"))
    planted: list[Canary] = field(default_factory=list)

    def plant(self, where: str, kind: str) -> str:
        """A new value of a kind: PN, ID, LO, DA; UI: six letters where a UID should be."""
        value, parts = getattr(self, f"_{kind.lower()}")()
        self.planted.append(Canary(where, value, parts))
        return str(value)

    def plant_script(self, where: str, charset: str) -> str:
        """A name of letters of another script."""
        codec, first = _SCRIPTS[charset]
        span = 60 if first == 0x0410 else 400
        letters = [chr(first + self.rng.randrange(span)) for _ in range(40)]
        usable = [letter for letter in letters if _fits(letter, codec)]
        parts = ("".join(usable[:5]), "".join(usable[5:10]))
        self.planted.append(Canary(where, "^".join(parts), parts, codec))
        return "^".join(parts)

    def _word(self, size: int) -> str:
        return "".join(self.rng.choice(string.ascii_lowercase) for _ in range(size))

    def _pn(self) -> tuple[str, tuple[str, ...]]:
        parts = (f"Zq{self._word(8)}", f"Xv{self._word(8)}")
        return "^".join(parts), parts

    def _id(self) -> tuple[str, tuple[str, ...]]:
        value = f"Q{self._word(4)}{self.rng.randrange(10**8):08}"
        return value, (value,)

    def _lo(self) -> tuple[str, tuple[str, ...]]:
        words = (f"kx{self._word(9)}", f"vj{self._word(9)}")
        return " ".join(words), words

    def _ui(self) -> tuple[str, tuple[str, ...]]:
        value = f"Zq{self._word(4)}"
        return value, (value,)

    def _da(self) -> tuple[str, tuple[str, ...]]:
        year, month, day = self.rng.randrange(1921, 1999), self.rng.randrange(1, 13), self.rng.randrange(1, 29)
        plain = f"{year}{month:02}{day:02}"
        written = (f"{year}-{month:02}-{day:02}", f"{year}.{month:02}.{day:02}", f"{day:02}.{month:02}.{year}")
        return plain, (plain, *written)


def _fits(letter: str, codec: str) -> bool:
    try:
        return letter.isprintable() and letter.encode(codec).decode(codec) == letter
    except UnicodeError:
        return False


def find_canaries(haystack: bytes, canaries: Sequence[Canary]) -> list[str]:
    """Where the values came from that are in ``haystack``, and in which form."""
    lowered = haystack.lower()
    found = []
    for canary in canaries:
        for part in canary.parts:
            for form, needle in forms_of(part, canary.codec).items():
                if needle in (lowered if form == "lower" else haystack) and _is_no_chance(needle, haystack):
                    found.append(f"{canary.where}: {form}")
    return found


def forms_of(part: str, codec: str) -> dict[str, bytes]:
    """The encodings in which a value is looked for."""
    raw = part.encode()
    forms = {
        "plain": raw,
        "as stored": part.encode(codec),
        "lower": part.lower().encode(),
        "UTF-16 LE": part.encode("utf-16-le"),
        "UTF-16 BE": part.encode("utf-16-be"),
        "hex": raw.hex().encode(),
        "HEX": raw.hex().upper().encode(),
        "URL": urllib.parse.quote(part).encode(),
        "JSON": part.encode("ascii", "backslashreplace"),
        "reversed": part[::-1].encode(),
    }
    # Base64 of a text with the value in it, wherever the value begins: the letters that its neighbours cannot change.
    for shift in range(3):
        coded = base64.b64encode(b"\0" * shift + raw).rstrip(b"=")
        forms[f"base64 {shift}"] = coded[-(-shift * 8 // 6) : (shift + len(raw)) * 8 // 6]
    return forms


def _is_no_chance(needle: bytes, haystack: bytes) -> bool:
    """A date may stand in a longer number or digest by chance; then it gives nobody away."""
    if not _DIGITS.fullmatch(needle.decode("latin-1")):
        return True
    return re.search(rb"(?<![0-9a-fA-F.])" + re.escape(needle) + rb"(?![0-9a-fA-F])", haystack) is not None


def make_files(planter: Planter) -> dict[str, bytes]:
    """Image files, whole, odd and broken, each with values of its own in every place that may hold some."""
    files = {}
    for name, syntax in (
        ("native", ExplicitVRLittleEndian),
        ("implicit", ImplicitVRLittleEndian),
        ("big", ExplicitVRBigEndian),
        ("rle", RLELossless),
    ):
        files[f"{name}.dcm"] = _dicom(planter, name, syntax)
    whole = _dicom(planter, "cut", ExplicitVRLittleEndian)
    files["cut.dcm"] = whole[: len(whole) - 700]
    files["no_bits.dcm"] = _dicom(planter, "no bits", without="BitsAllocated")
    files["no_pixels.dcm"] = _dicom(planter, "no pixels", without="PixelData")
    files["no_uids.dcm"] = _dicom(planter, "UIDs", uids=True)
    files["syntax.dcm"] = _dicom(planter, "syntax", ExplicitVRLittleEndian).replace(
        b"1.2.840.10008.1.2.1\0", planter.plant("transfer syntax", "PN")[:20].encode().ljust(20, b"\0"), 1
    )
    files |= {f"{charset.replace(' ', '_')}.dcm": _script(planter, charset) for charset in _SCRIPTS}
    files |= dict(_pictures(planter))
    return files


def make_planted(planter: Planter, where: str, frames: np.ndarray, **elements: object) -> Dataset:
    """A data set with a value of its own in each place that may hold one."""
    dataset = make_dataset(frames, Modality="DX", BodyPartExamined="CHEST", PatientAge="004Y", **elements)
    for keyword, kind in _TEXTS.items():
        setattr(dataset, keyword, planter.plant(f"{where} {keyword}", kind))
    _plant_deep(planter, where, dataset)
    return dataset


def _plant_deep(planter: Planter, where: str, dataset: Dataset) -> None:
    """Private elements, sequences in sequences, overlays and curves."""
    block = dataset.private_block(0x0009, "ACME 1", create=True)
    block.add_new(0x01, "LO", planter.plant(f"{where} private", "LO"))
    block.add_new(0x02, "PN", planter.plant(f"{where} private", "PN"))
    inner, middle, outer = Dataset(), Dataset(), Dataset()
    inner.PatientID = planter.plant(f"{where} nested", "ID")
    inner.PatientName = planter.plant(f"{where} nested", "PN")
    middle.OtherPatientIDsSequence = DicomSequence([inner])
    middle.ScheduledProcedureStepDescription = planter.plant(f"{where} nested", "LO")
    outer.RequestAttributesSequence = DicomSequence([middle])
    dataset.ReferencedPatientSequence = DicomSequence([outer])
    dataset.add_new(0x60000022, "LO", planter.plant(f"{where} overlay", "LO"))
    dataset.add_new(0x60001500, "LO", planter.plant(f"{where} overlay", "LO"))
    dataset.add_new(0x60004000, "LT", planter.plant(f"{where} overlay", "LO"))
    dataset.add_new(0x50002500, "LO", planter.plant(f"{where} curve", "LO"))


def _dicom(
    planter: Planter,
    where: str,
    syntax: str = ExplicitVRLittleEndian,
    *,
    without: str | None = None,
    uids: bool = False,
) -> bytes:
    frames = gradient(64, 48)[None, :, :, None]
    dataset = make_planted(planter, where, frames)
    data = write(dataset, syntax, frames=frames)
    if without is not None:
        # Renamed and not removed: pydicom would not write such a file.
        data = _rename(data, {"BitsAllocated": b"\x28\0\0\1US", "PixelData": b"\xe0\x7f\x10\0OB"}[without])
    if uids:
        for number in (b"2.25.1", b"2.25.2", b"2.25.3"):
            data = data.replace(b"UI\x06\0" + number, b"UI\x06\0" + planter.plant(f"{where} UID", "UI").encode())
    return planter.plant(f"{where} preamble", "LO").encode().ljust(128, b"\0") + data[128:]


def _rename(data: bytes, tag: bytes) -> bytes:
    """Make an element a private one of the same group."""
    return data.replace(tag, tag[:2] + b"\xfe\xff" + tag[4:], 1)


def _script(planter: Planter, charset: str) -> bytes:
    frames = gradient(64, 48)[None, :, :, None]
    first = ["", charset] if charset.startswith("ISO 2022") else charset
    dataset = make_dataset(frames, SpecificCharacterSet=first)
    for keyword in ("PatientName", "PatientAddress", "StudyDescription", "ImageComments"):
        setattr(dataset, keyword, planter.plant_script(f"{charset} {keyword}", charset))
    return write(dataset)


def _pictures(planter: Planter) -> Iterator[tuple[str, bytes]]:
    texts = PngInfo()
    texts.add_text("Description", planter.plant("PNG text", "PN"))
    texts.add_itxt("Comment", planter.plant("PNG text", "LO"), zip=False)
    for name, kind, options in (
        ("a.png", "PNG", {"pnginfo": texts}),
        ("a.jpg", "JPEG", {"comment": planter.plant("JPEG comment", "LO").encode()}),
    ):
        buffer = io.BytesIO()
        PillowImage.fromarray(gradient(64, 48)).save(buffer, kind, **options)
        yield name, buffer.getvalue()
