"""Compressed DICOM: damaged pixel data go through decoders in C, C++ and Rust, one surface for each syntax."""

from __future__ import annotations

import base64
import contextlib
import random
import tempfile
from collections.abc import Callable
from pathlib import Path

from changes import bytes_changed, door

Case = Callable[[random.Random], None]
_UID = "1.2.840.10008.1.2."
_GIVEN = (12, 16)
_HTJ2K = (
    "|4;u>04YEK0000G0000C00000000000000G0000C0000000000009pH0sl|{2mk^A000XAQUDA90ssL31q1{@0smY86Cj9?kdTm&kdTm&kdTmw"
    "h=~7W02crOPjF>!N>E53R%LP^FfKASE;BCwkN^q*00001c>n?blfVEbzx@RVbN~Rr024p}6F>kH0EGPlhjakg{sISd0J{DHhjakI02MF*1n>X^"
    ";2p6QWFP>elmLD3;Q*pE08kzH0D?3CzyKD!00C>j02a6&B_oEG7s2o=rin?7R`>vCf5spYm;e%^{NZ3o3neOGonvZ^0005}#vlTj0B&{=EM@06"
    "GK>Nmuvy6d6o>zeKtQ+vzyL1(00DXw00Q)I9jQR$Ja-ZRl)$^X@xgK<z_fiPAUzKlW+9EfR!9*9!Z1SQ23k-tL4dw?wfKN=@DT{cqs&~GVA%oy"
    "GoAp242VG}@*=qx8N4#<7q#F;!*YR9aG)?iFcILg;J^@ZUg+pEgye||iU3)9EKSox;Q|;02!$lz4Fo`Dga9Lu0Wm06z<E;x4In_E5*rytM<F&8"
    "(82;2#E`%hB^<%S3N!p*fdLv7<O=pk+{6qIRH2X8<V-3K5I`;hAh7@|2*AV`K)`ST|Je"
)
_JPEG12 = (
    "|JeWF01!$>Nk#wx0RR9200961|JwjV00smF1_cBL1_cHO2L=cV5DE$j2?`Vr4-60&6c`v66c!d59VH(c8zUSR79cDjBPJ&)Dk&KsEif%8FeNA{"
    "DF49#3k(1Z01yEI5di<h02crN0|5X40000000000000062MG-S!~h=<00II60s{d600000000000s{dA1qKHQ2@(?&|Jncu0RaF2KLE|M;2WV_"
    "Q{4Va<qeCU10$K#IQFF#j;@BXkY(&&i()Nxr5L$jn5Jb5T#S<#6D)vPt*(DRo;LV9sr)^ma`#^;<uxj|bBok6dcobXk*Q$YTHU2yQ|vU{vw^6^"
    "7(o!6O6DPC2Q8ZZKRc<+Ju&2rhV8?dN^-o4{{S9eUdsbtipqpRe2T(BfPY09k*%O$W9-59`L&>CUGDNP&b{ifuVZ<3&Ib*vYo^vz*7aJ?rH^H}"
    "FJIW;W14J#&62T_KUIvJEJ9l8XaCs"
)
"""A bright disc of 12×16 pixels as imagecodecs encodes it: no other package of the tests writes these two."""


def _by_pydicom(path: Path, syntax: str) -> None:
    from pydicom import dcmread, uid

    told = dcmread(path)
    how = {uid.JPEGLSNearLossless: {"jls_error": 2}, uid.JPEG2000: {"j2k_cr": [4]}}.get(uid.UID(syntax), {})
    told.compress(syntax, generate_instance_uid=False, **how)
    told.save_as(path)


def _by_gdcm(path: Path, syntax: str) -> None:
    from dicom_studies import as_jpeg_lossless

    as_jpeg_lossless(path)


def _stream(path: Path, syntax: str, stream: bytes, bits: int, sides: tuple[int, int]) -> None:
    from pydicom import dcmread
    from pydicom.encaps import encapsulate

    told = dcmread(path)
    told.Rows, told.Columns = sides
    told.BitsAllocated, told.BitsStored, told.HighBit = (16 if bits > 8 else 8), bits, bits - 1
    told.PixelData = encapsulate([stream])
    told["PixelData"].VR = "OB"
    told["PixelData"].is_undefined_length = True
    told.file_meta.TransferSyntaxUID = syntax
    told.save_as(path)


def _given(text: str) -> Callable[[Path, str], None]:
    return lambda path, syntax: _stream(path, syntax, base64.b85decode(text), 12, _GIVEN)


def _by_pillow(path: Path, syntax: str) -> None:
    import io

    from PIL import Image
    from pydicom import dcmread

    out, pixels = io.BytesIO(), dcmread(path).pixel_array
    Image.fromarray((pixels >> 4).astype("uint8")).save(out, "JPEG", quality=90)
    _stream(path, syntax, out.getvalue(), 8, pixels.shape)


def _surface(name: str, syntax: str, compress: Callable[[Path, str], None]) -> Callable[[Path], Case]:
    def made(folder: Path) -> Case:
        from helpers.dicom_series import write_dicom_series
        from pydicom import dcmread

        from brainseg_engine.io.dicom.pixels import stored_frames
        from brainseg_engine.io.listing import list_series, read_listed

        with tempfile.TemporaryDirectory() as elsewhere:
            path = write_dicom_series(Path(elsewhere), "thick")[5]
            compress(path, syntax)
            sound = path.read_bytes()
        path = folder / "1.dcm"
        path.write_bytes(sound)
        assert stored_frames(path, [0])[0].any() and dcmread(path).file_meta.TransferSyntaxUID == syntax
        begin = sound.rindex(b"\xe0\x7f\x10\x00") + 28  # past the (empty) table of offsets

        def spoil(r: random.Random) -> None:
            head, stream = sound[:begin], bytes_changed(sound[begin:], r, r.choice((None, None, 120, 40)))
            path.write_bytes((bytes_changed(head, r) if r.random() < 0.05 else head) + stream)
            if r.random() < 0.2:  # the header tells of other pixels than the codestream
                with contextlib.suppress(Exception):
                    told = dcmread(path, force=True)
                    what = r.choice(("Rows", "Columns", "BitsAllocated", "BitsStored", "SamplesPerPixel"))
                    setattr(told, what, r.choice((1, 8, 16, 32, 4096, 65535)))
                    told.save_as(path)

        def one(r: random.Random) -> None:
            spoil(r)
            if r.random() < 0.7:
                door(stored_frames, path, [0])
                return
            listing = door(list_series, folder)
            for series in listing.series if listing is not None else ():
                door(read_listed, series)

        return one

    made.__name__ = name
    return made


SYNTAXES = tuple(
    _surface(name, _UID + syntax, compress)
    for name, syntax, compress in (
        ("dicom_rle", "5", _by_pydicom), ("dicom_jpegls", "4.80", _by_pydicom), ("dicom_jpegls_near", "4.81", _by_pydicom),
        ("dicom_jpeg2000", "4.90", _by_pydicom), ("dicom_jpeg2000_lossy", "4.91", _by_pydicom),
        ("dicom_htj2k", "4.201", _given(_HTJ2K)), ("dicom_jpeg_lossless", "4.70", _by_gdcm),
        ("dicom_jpeg12", "4.51", _given(_JPEG12)), ("dicom_jpeg8", "4.50", _by_pillow),
    )
)  # fmt: skip
