"""Compressed pixels that are damaged are refused in words before a decoder takes gigabytes for them, or ends the program."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from dicom_studies import as_jpeg_lossless
from helpers.dicom_series import write_dicom_series
from pydicom import dcmread, uid
from pydicom.encaps import encapsulate, get_frame

from brainseg_engine.core import plain
from brainseg_engine.core.errors import InputError
from brainseg_engine.io.dicom import codestream
from brainseg_engine.io.dicom.pixels import stored_frames

SYNTAXES = {
    "RLE": uid.RLELossless,
    "JPEG-LS": uid.JPEGLSLossless,
    "JPEG 2000": uid.JPEG2000Lossless,
    "JPEG": uid.JPEGLosslessSV1,
}


@pytest.fixture
def slice_(tmp_path) -> Path:
    return write_dicom_series(tmp_path / "series")[4]


def compressed(path: Path, name: str) -> np.ndarray:
    """The slice compressed so; what it holds."""
    told = dcmread(path)
    pixels = told.pixel_array
    if name == "JPEG":
        as_jpeg_lossless(path)
    else:
        told.compress(SYNTAXES[name], generate_instance_uid=False)
        told.save_as(path)
    return pixels


def stream_of(path: Path) -> bytes:
    return get_frame(dcmread(path).PixelData, 0, number_of_frames=1)


def with_stream(path: Path, stream: bytes) -> None:
    told = dcmread(path)
    told.PixelData = encapsulate([stream])
    told.save_as(path)


@pytest.mark.parametrize("name", SYNTAXES)
def test_each_gives_what_was_stored(slice_, name):
    pixels = compressed(slice_, name)
    assert np.array_equal(stored_frames(slice_, [0])[0], pixels)
    if name != "RLE":
        assert codestream.size_of(stream_of(slice_)) == codestream.Codestream(*pixels.shape, 1)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("signed", [False, True])
def test_rle_of_every_integer(slice_, bits, signed):
    told = dcmread(slice_)
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1)) if signed else (0, 2**bits)
    kind = f"{'i' if signed else 'u'}{bits // 8}"
    pixels = np.random.default_rng(0).integers(low, high, (told.Rows, told.Columns)).astype(kind)
    told.BitsAllocated = told.BitsStored = bits
    told.HighBit, told.PixelRepresentation, told.PixelData = bits - 1, int(signed), pixels.tobytes()
    told.compress(uid.RLELossless, generate_instance_uid=False)
    told.save_as(slice_)
    found = stored_frames(slice_, [0])[0]
    assert found.dtype == np.dtype(kind) and np.array_equal(found, pixels)


@pytest.mark.parametrize("name", ["JPEG-LS", "JPEG 2000", "JPEG"])
def test_a_codestream_that_tells_other_sizes_never_reaches_its_decoder(slice_, name, monkeypatch):
    compressed(slice_, name)
    stream = stream_of(slice_)
    if name == "JPEG 2000":
        at = stream.index(b"\xff\x51") + 6
        stream = stream[:at] + struct.pack(">2I", 60_000, 60_000) + stream[at + 8 :]
    else:
        at = stream.index(b"\xff\xf7" if name == "JPEG-LS" else b"\xff\xc3") + 5
        stream = stream[:at] + struct.pack(">2H", 60_000, 60_000) + stream[at + 4 :]
    with_stream(slice_, stream)
    monkeypatch.setattr("pydicom.pixels.iter_pixels", lambda *a, **k: pytest.fail("it was decoded"))
    with pytest.raises(InputError, match="cannot be decoded"):
        stored_frames(slice_, [0])


@pytest.mark.parametrize("how", ["empty", "too short", "too long", "another count", "no header"])
def test_damaged_rle_is_refused(slice_, how, capfd):
    compressed(slice_, "RLE")
    stream = stream_of(slice_)
    count, first, second = struct.unpack_from("<3I", stream)
    header = stream[12:64]
    made = {
        "empty": struct.pack("<3I", count, first, len(stream)) + header + stream[64:],
        "too short": struct.pack("<3I", count, first, first + 4) + header + stream[64:],
        "too long": struct.pack("<3I", count, first, second) + header + stream[64:second] + b"\x81\x00" * 100_000,
        "another count": struct.pack("<3I", 1, first, 0) + header + stream[64:],
        "no header": stream[:40],
    }[how]
    with_stream(slice_, made + b"\x00" * (len(made) % 2))
    with pytest.raises(InputError, match="cannot be decoded"):
        stored_frames(slice_, [0])
    assert "panicked" not in capfd.readouterr().err


def test_no_more_is_made_room_for_than_the_file_has(tmp_path):
    (tmp_path / "x").write_bytes(b"abc")
    with plain.opened(tmp_path / "x") as f:
        assert f.read(2**62) == b"abc"
    with plain.opened(tmp_path / "x") as f:
        assert f.read(2) == b"ab" and f.read() == b"c" and f.read(2**40) == b""
