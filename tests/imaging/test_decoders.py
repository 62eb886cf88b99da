"""Each codec against values known beforehand, and against a second decoder of another family."""

from __future__ import annotations

import io
import struct
from typing import Any

import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate, encapsulate_extended
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from irmsia.errors import (
    DecodeFailedError,
    InconsistentHeaderError,
    TruncatedError,
    UnsupportedError,
)
from irmsia.imaging.digest import frame_digest
from irmsia.imaging.formats.codecs import CODECS
from irmsia.imaging.read import read_image
from irmsia.imaging.types import Image
from tests.imaging.samples import LIMITS, gradient, make_dataset, part10, rle_frame, write

DEFLATED_FRAMES = "1.2.840.10008.1.2.8.1"  # PS3.5 annex A.4.13, unknown to pydicom 3.0
RNG = np.random.default_rng(7)
_NOISE = RNG.integers(0, 4096, (24, 32), dtype=np.uint16)


def encapsulated(
    streams: list[bytes], frames: NDArray[Any], syntax: str, *, fragments: int = 1, **elements: Any
) -> bytes:
    """A file whose frames are ``streams``, described by the header that ``frames`` would have."""
    dataset = make_dataset(frames, **elements)
    dataset.PixelData = encapsulate(streams, fragments_per_frame=fragments, has_bot=fragments > 1)
    return _save(dataset, syntax)


def _save(dataset: Dataset, syntax: str) -> bytes:
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    return _file(dataset, syntax)


def _file(dataset: Dataset, syntax: str) -> bytes:
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = JPEGLSLossless if "PixelData" in dataset else ExplicitVRLittleEndian
    buffer = io.BytesIO()
    dcmwrite(buffer, dataset, implicit_vr=False, little_endian=True, enforce_file_format=True)
    data = buffer.getvalue()
    (meta,) = struct.unpack_from("<I", data, 140)  # group length of the meta information: pydicom knows no new syntax
    return part10(data[144 + meta :], syntax)


def _read(data: bytes) -> Image:
    return read_image(data, LIMITS)


def _codes(image: Image) -> list[str]:
    return [notice.code for notice in image.info.warnings]


LOSSLESS = {
    JPEGLosslessSV1: lambda frame: imagecodecs.jpeg8_encode(
        frame, lossless=True, predictor=1, bitspersample=8 * frame.itemsize
    ),
    JPEGLSLossless: imagecodecs.jpegls_encode,
    JPEG2000Lossless: lambda frame: imagecodecs.jpeg2k_encode(frame, codecformat="j2k", reversible=True, level=0),
    HTJ2KLossless: lambda frame: imagecodecs.htj2k_encode(frame, reversible=True),
}


@pytest.mark.parametrize("syntax", LOSSLESS, ids=str)
@pytest.mark.parametrize("frame", [gradient(), _NOISE * np.uint16(16)], ids=["8 bit", "16 bit"])
def test_lossless_streams_give_back_their_values(syntax: str, frame: NDArray[Any]) -> None:
    """What an encoder of another library version put in comes out, with the digest of the values."""
    image = _read(encapsulated([LOSSLESS[syntax](frame)], frame[np.newaxis, :, :, np.newaxis], syntax))
    np.testing.assert_array_equal(image.pixels[0, :, :, 0], frame)
    assert image.info.frame_sha256 == (frame_digest(frame),)
    assert image.info.lossless is True
    assert _codes(image) == []


@pytest.mark.parametrize("syntax", [JPEGLosslessSV1, JPEGLSLossless], ids=str)
def test_signed_values_of_unsigned_streams(syntax: str) -> None:
    """JPEG and JPEG-LS know no sign: PixelRepresentation says how their 16 bits are to be read."""
    values = RNG.integers(-2000, 2000, (1, 24, 32, 1), dtype=np.int16)
    image = _read(encapsulated([LOSSLESS[syntax](values[0, :, :, 0].view(np.uint16))], values, syntax))
    np.testing.assert_array_equal(image.pixels, values)
    assert image.pixels.dtype == np.int16


def test_the_codestream_wins_over_the_header() -> None:
    """A signed JPEG 2000 stream under an unsigned header: signed values, and a warning."""
    values = RNG.integers(-100, 100, (24, 32), dtype=np.int16)
    stream = imagecodecs.jpeg2k_encode(values, codecformat="j2k", reversible=True, level=0)
    header = np.zeros((1, 24, 32, 1), np.uint16)
    image = _read(encapsulated([stream], header, JPEG2000Lossless))
    np.testing.assert_array_equal(image.pixels[0, :, :, 0], values)
    assert image.pixels.dtype == np.int16
    assert image.interpretation.signed
    assert "HEADER_MISMATCH" in _codes(image)


def test_a_stream_of_fewer_bits_keeps_the_announced_type() -> None:
    """8 bits in a codestream under 16 allocated: uint16 values, a warning, and bits as the codestream says."""
    frame = gradient()
    image = _read(encapsulated([imagecodecs.jpegls_encode(frame)], np.zeros((1, 24, 32, 1), np.uint16), JPEGLSLossless))
    assert image.pixels.dtype == np.uint16
    np.testing.assert_array_equal(image.pixels[0, :, :, 0], frame)
    assert image.interpretation.bits_stored == 8
    assert "HEADER_MISMATCH" in _codes(image)


@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL_422"])
@pytest.mark.parametrize("markers", ["JFIF", "none"])
def test_colour_of_lossy_jpeg(photometric: str, markers: str) -> None:
    """YCbCr by JFIF whatever the header says; without markers the header decides. What disagrees is warned of."""
    colour = np.stack([gradient(), gradient()[::-1], np.full((24, 32), 90, np.uint8)], axis=-1)
    stream = imagecodecs.jpeg8_encode(colour, level=95, subsampling="444")
    as_rgb = imagecodecs.jpeg8_decode(stream, colorspace="YCBCR", outcolorspace="RGB")
    as_coded = imagecodecs.jpeg8_decode(stream, colorspace="RGB", outcolorspace="RGB")
    if markers == "none":
        at = stream.index(b"\xff\xe0")
        stream = stream[:at] + stream[at + 2 + struct.unpack_from(">H", stream, at + 2)[0] :]
    file = encapsulated([stream], colour[np.newaxis], JPEGBaseline8Bit, PhotometricInterpretation=photometric)
    image = _read(file)
    coded = markers == "none" and photometric == "RGB"
    np.testing.assert_array_equal(image.pixels[0], as_coded if coded else as_rgb)
    assert image.interpretation.photometric == "RGB"
    assert ("HEADER_MISMATCH" in _codes(image)) == (markers == "JFIF" and photometric == "RGB")
    assert image.info.lossless is False


@pytest.mark.parametrize(("jfif", "ycbcr"), [(True, True), (False, False)])
def test_jfif_outweighs_adobe(jfif: bool, ycbcr: bool) -> None:
    """YCbCr where either marker says so: a DICOM frame and the same JPEG file show the same colours."""
    colour = np.stack([gradient(), gradient()[::-1], np.full((24, 32), 90, np.uint8)], axis=-1)
    stream = imagecodecs.jpeg8_encode(colour, level=95, subsampling="444")
    at = stream.index(b"\xff\xe0")
    behind = at + 2 + struct.unpack_from(">H", stream, at + 2)[0]
    adobe = b"\xff\xee" + struct.pack(">H5sHHHB", 14, b"Adobe", 100, 0, 0, 0)
    stream = stream[: behind if jfif else at] + adobe + stream[behind:]
    frame = _read(encapsulated([stream], colour[np.newaxis], JPEGBaseline8Bit)).pixels[0]
    space = "YCBCR" if ycbcr else "RGB"
    np.testing.assert_array_equal(frame, imagecodecs.jpeg8_decode(stream, colorspace=space, outcolorspace="RGB"))
    np.testing.assert_array_equal(frame, _read(stream).pixels[0])


@pytest.mark.parametrize(("near", "lossless"), [(0, True), (3, False)])
def test_jpeg_ls_says_itself_whether_it_lost_anything(near: int, lossless: bool) -> None:
    """NEAR above 0 is lossy also under the lossless transfer syntax, and in a file of its own."""
    stream = imagecodecs.jpegls_encode(gradient(), level=near)
    frame = gradient()[np.newaxis, :, :, np.newaxis]
    for image in (_read(encapsulated([stream], frame, JPEGLSLossless)), _read(stream)):
        assert image.info.lossless is lossless
        assert ("LOSSY" in _codes(image)) is not lossless


def test_native_half_rate_chroma_is_repeated() -> None:
    """YBR_FULL_422: two neighbours share one Cb and one Cr, and the values stay YBR."""
    value = bytes([10, 20, 100, 200, 30, 40, 110, 210])
    dataset = make_dataset(np.zeros((1, 1, 4, 3), np.uint8), PhotometricInterpretation="YBR_FULL_422")
    dataset.PixelData = value
    image = _read(write(dataset))
    expected = [[10, 100, 200], [20, 100, 200], [30, 110, 210], [40, 110, 210]]
    np.testing.assert_array_equal(image.pixels[0, 0], expected)
    assert image.interpretation.photometric == "YBR_FULL_422"


def test_planar_colour_is_interleaved() -> None:
    """PlanarConfiguration 1 changes where samples lie, not what the digest is of."""
    frames = RNG.integers(0, 255, (2, 5, 6, 3), dtype=np.uint8)
    planar = make_dataset(frames, PlanarConfiguration=1)
    planar.PixelData = np.ascontiguousarray(frames.transpose(0, 3, 1, 2)).tobytes()
    assert _read(write(planar)).info.frame_sha256 == _read(write(make_dataset(frames))).info.frame_sha256


def test_big_endian_bytes_written_as_words_are_swapped_back() -> None:
    """8-bit samples with VR OW in big endian lie swapped in pairs (PS3.5 annex A.2)."""
    frame = gradient(4, 6)
    dataset = make_dataset(frame[np.newaxis, :, :, np.newaxis])
    data = write(dataset, ExplicitVRBigEndian, frames=frame[np.newaxis, :, :, np.newaxis])
    at = data.rindex(b"\x7f\xe0\x00\x10OB")
    swapped = frame.tobytes()
    words = np.frombuffer(swapped, ">u2").astype("<u2").tobytes()
    data = data[: at + 4] + b"OW" + data[at + 6 : at + 12] + words
    np.testing.assert_array_equal(_read(data).pixels[0, :, :, 0], frame)


@pytest.mark.parametrize("rows", [8, 3])
def test_frames_of_single_bits(rows: int) -> None:
    """1-bit frames follow each other without padding when native, and start on a byte when each is deflated."""
    import zlib

    frames = RNG.integers(0, 2, (3, rows, 5, 1), dtype=np.uint8)
    dataset = make_dataset(frames, BitsAllocated=1, BitsStored=1, HighBit=0)
    dataset.PixelData = np.packbits(frames.ravel(), bitorder="little").tobytes()
    native = _read(write(dataset))
    np.testing.assert_array_equal(native.pixels, frames)
    streams = []
    for frame in frames:
        packer = zlib.compressobj(wbits=-15)
        streams.append(packer.compress(np.packbits(frame.ravel(), bitorder="little").tobytes()) + packer.flush())
    dataset.PixelData = encapsulate([stream + b"\0" * (len(stream) % 2) for stream in streams])
    assert _read(_save(dataset, DEFLATED_FRAMES)).info.frame_sha256 == native.info.frame_sha256
    dataset.PixelData = encapsulate([np.packbits(frame.ravel(), bitorder="little").tobytes() for frame in frames])
    plain = _read(_save(dataset, "1.2.840.10008.1.2.1.98"))
    assert plain.info.frame_sha256 == native.info.frame_sha256


@pytest.mark.parametrize("kind", ["float32", "float64"])
def test_floating_point_pixels(kind: str) -> None:
    """FloatPixelData and DoubleFloatPixelData come as float32 and float64, NaN and all."""
    frames = RNG.normal(size=(2, 4, 5, 1)).astype(kind)
    frames[0, 0, 0, 0] = np.nan
    dataset = make_dataset(frames)
    del dataset.PixelData
    keyword = "FloatPixelData" if kind == "float32" else "DoubleFloatPixelData"
    dataset.add_new(
        0x7FE00008 if kind == "float32" else 0x7FE00009, "OF" if kind == "float32" else "OD", frames.tobytes()
    )
    assert keyword in dataset
    image = _read(_file(dataset, ExplicitVRLittleEndian))
    assert image.info.dtype == kind
    np.testing.assert_array_equal(image.pixels, frames)


@pytest.mark.parametrize("fragments", [1, 3])
def test_fragments_of_frames_are_joined(fragments: int) -> None:
    """One fragment or three a frame, by offset table or by start marker: the same frames."""
    frames = RNG.integers(0, 4096, (3, 24, 32, 1), dtype=np.uint16)
    streams = [imagecodecs.jpegls_encode(frame[:, :, 0]) for frame in frames]
    data = encapsulated(streams, frames, JPEGLSLossless, fragments=fragments)
    expected = tuple(frame_digest(frame) for frame in frames)
    assert _read(data).info.frame_sha256 == expected
    dataset = make_dataset(frames)
    dataset.PixelData = encapsulate(streams, fragments_per_frame=fragments, has_bot=False)
    assert _read(_save(dataset, JPEGLSLossless)).info.frame_sha256 == expected


def test_extended_offset_table() -> None:
    """Frames found by ExtendedOffsetTable, one fragment each."""
    frames = RNG.integers(0, 4096, (3, 24, 32, 1), dtype=np.uint16)
    dataset = make_dataset(frames)
    streams = [imagecodecs.jpegls_encode(frame[:, :, 0]) for frame in frames]
    dataset.PixelData, dataset.ExtendedOffsetTable, dataset.ExtendedOffsetTableLengths = encapsulate_extended(streams)
    assert len(_read(_save(dataset, JPEGLSLossless)).info.frame_sha256) == 3


def test_two_frames_announced_and_three_there() -> None:
    """A wrong NumberOfFrames is refused, never guessed."""
    frames = RNG.integers(0, 255, (3, 24, 32, 1), dtype=np.uint8)
    streams = [imagecodecs.jpegls_encode(frame[:, :, 0]) for frame in frames]
    for count in (2, 4):
        with pytest.raises(InconsistentHeaderError):
            _read(encapsulated(streams, frames, JPEGLSLossless, NumberOfFrames=count))


@pytest.mark.parametrize(
    ("damage", "error"),
    [
        (lambda stream: stream[:-40], TruncatedError),
        (lambda stream: b"\0" + stream[1:], DecodeFailedError),
        (lambda stream: b"\0\0", DecodeFailedError),
    ],
    ids=["cut", "start lost", "zeros"],
)
@pytest.mark.parametrize("syntax", LOSSLESS, ids=str)
def test_damaged_streams(syntax: str, damage: Any, error: type[Exception]) -> None:
    """A damaged stream inside a whole file has its own code, and never gives pixels."""
    stream = damage(LOSSLESS[syntax](gradient()))
    with pytest.raises(error):
        _read(encapsulated([stream], gradient()[np.newaxis, :, :, np.newaxis], syntax))


def test_a_stream_of_another_size_than_the_header() -> None:
    """Rows and columns of the codestream are compared with the header before anything is decoded."""
    stream = imagecodecs.jpegls_encode(gradient(24, 32))
    with pytest.raises(InconsistentHeaderError):
        _read(encapsulated([stream], np.zeros((1, 24, 33, 1), np.uint8), JPEGLSLossless))


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.4.100", "1.2.840.10008.1.2.4.94", "1.2.3.4"])
def test_syntaxes_that_are_not_read(syntax: str) -> None:
    """Video, JPIP and unknown syntaxes are UNSUPPORTED."""
    with pytest.raises(UnsupportedError):
        _read(encapsulated([b"\0\0"], np.zeros((1, 4, 4, 1), np.uint8), syntax))


def test_rle_of_runs_and_padding() -> None:
    """Replicate runs, literal runs, the no-operation byte and a padding zero all decode."""
    packed = bytes([0xFD, 7, 0x80, 0x02, 1, 2, 3, 0xFF, 9, 0x00])  # 7 7 7 7, 1 2 3, 9 9, then a padding byte
    stream = struct.pack("<16I", 1, 64, *[0] * 14) + packed
    image = _read(encapsulated([stream], np.zeros((1, 3, 3, 1), np.uint8), RLELossless))
    assert image.pixels.ravel().tolist() == [7, 7, 7, 7, 1, 2, 3, 9, 9]


@pytest.mark.parametrize(
    "table",
    [
        (1, 63), (1, 10_000), (2, 64, 64), (0,), (15, *range(64, 79)), (2, 70, 64), (0xFFFFFFFF, 64),
    ],
)  # fmt: skip
def test_rle_tables_that_lie(table: tuple[int, ...]) -> None:
    """A segment count or an offset that does not fit is refused by arithmetic."""
    good = rle_frame(gradient()[:, :, np.newaxis])
    stream = struct.pack("<16I", *table, *[0] * (16 - len(table))) + good[64:]
    with pytest.raises(InconsistentHeaderError):
        _read(encapsulated([stream], gradient()[np.newaxis, :, :, np.newaxis], RLELossless))


def test_rle_bomb_is_never_unpacked_beyond_its_frame() -> None:
    """A segment that would unpack to more than the frame is refused."""
    stream = struct.pack("<16I", 1, 64, *[0] * 14) + b"\x81\x00" * 100_000
    with pytest.raises(DecodeFailedError):
        _read(encapsulated([stream], gradient()[np.newaxis, :, :, np.newaxis], RLELossless))


def test_every_codec_names_itself() -> None:
    """Evidence says which decoder, of which version, made the values."""
    assert all(codec.name.startswith(f"imagecodecs {imagecodecs.__version__} ") for codec in CODECS.values())


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.4.202", "1.2.840.10008.1.2.4.203"])
@pytest.mark.parametrize(
    "frame",
    [gradient(), _NOISE, _NOISE.astype(np.int16) - 2000, RNG.integers(0, 256, (24, 32, 3), dtype=np.uint8)],
    ids=["8 bit", "16 bit", "signed", "colour"],
)
def test_high_throughput_jpeg_2000(syntax: str, frame: NDArray[Any]) -> None:
    """OpenJPEG reads what OpenJPH wrote, as OpenJPH itself does, under each of the three syntaxes."""
    stream = imagecodecs.htj2k_encode(frame, reversible=True)
    shaped = frame.reshape(1, 24, 32, -1)
    image = _read(encapsulated([stream], shaped, syntax))
    np.testing.assert_array_equal(image.pixels, shaped)
    np.testing.assert_array_equal(imagecodecs.htj2k_decode(stream), frame)
    assert image.info.lossless is (syntax != "1.2.840.10008.1.2.4.203")
