"""The doors of a PACS: what it answers, by DICOMweb and by DIMSE, what the watch remembers, and the audit file."""

from __future__ import annotations

import io
import json
import os
import random
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from changes import ODD, WORDS, bytes_changed, door, json_changed, value_changed

Case = Callable[[random.Random], None]


def pacs_answers(folder: Path) -> Case:
    """What a DICOMweb server answers to searches, as JSON."""
    from brainseg_engine.pacs.connections import DicomWeb
    from brainseg_engine.pacs.records import Query
    from brainseg_engine.pacs.web import WebPacs

    pacs = WebPacs("pacs", DicomWeb(kind="dicomweb", url="http://127.0.0.1:1/dicom-web"))

    def row(**values: Any) -> dict[str, Any]:
        return {tag.lstrip("x"): {"vr": "LO", "Value": [value]} for tag, value in values.items()}

    sound = [
        row(x0020000D="1.2.3", x00100020="P", x00100010={"Alphabetic": "A^B"}, x00080020="20200101", x00080061="MR", x00201206=4),
        row(x0020000E="1.2.3.4", x0020000D="1.2.3", x00200011=1, x00080060="MR", x0008103E="t1", x00201209=20, x00080018="1.2.5"),
    ]  # fmt: skip

    def one(r: random.Random) -> None:
        answer: Any = [r.choice(sound) for _ in range(r.choice((1, 2)))]
        for _ in range(r.choice((1, 1, 2, 3))):
            answer = value_changed(answer, r)
        for search in ("search_for_studies", "search_for_series", "search_for_instances"):
            setattr(pacs._client, search, lambda *a, **k: answer)
        series = door(lambda: list(pacs.studies(Query()))), door(pacs.series, "1.2.3")
        for s in (series[1] or ())[:1]:
            door(pacs.instances, s)

    return one


_STUDY = {(8, 5): b"ISO_IR 100", (8, 0x20): b"20200101", (8, 0x50): b"A1", (8, 0x61): b"MR\\SEG ", (0x10, 0x10): b"M\xfcller^J",
          (0x10, 0x20): b"P ", (0x20, 0xD): b"1.2.3\0", (0x20, 0x1208): b"4 "}  # fmt: skip
_SERIES = {(8, 0x18): b"1.2.5\0", (8, 0x60): b"MR", (8, 0x103E): b"t1", (0x20, 0xD): b"1.2.3\0", (0x20, 0xE): b"1.2.3.4\0",
           (0x20, 0x11): b"1 ", (0x20, 0x1209): b"20"}  # fmt: skip
"""Answers to C-FIND: (group, element) → value."""


def _spoilt(answer: dict[tuple[int, int], bytes], r: random.Random) -> bytes:
    """The answer as it goes over the network (implicit VR, little endian), with another value, or with other bytes anywhere."""
    answer, within = dict(answer), r.random() < 0.7
    if within:
        tag = r.choice(sorted(answer))
        answer[tag] = r.choice((*WORDS, b"", r.randbytes(9), b"\x1b$B" + r.randbytes(4), bytes_changed(answer[tag], r)))
    raw = b"".join(struct.pack("<HHL", *tag, len(value)) + value for tag, value in answer.items())
    return raw if within else bytes_changed(raw, r)


def dimse_answers(folder: Path) -> Case:
    """What a DIMSE server answers to C-FIND, decoded as pynetdicom does; a status may be odd, too."""
    from pydicom.dataset import Dataset
    from pynetdicom.dsutils import decode

    from brainseg_engine.pacs.connections import Dimse
    from brainseg_engine.pacs.dimse import DimsePacs
    from brainseg_engine.pacs.records import Query

    pacs = DimsePacs("pacs", Dimse(host="127.0.0.1", port=1, title="PACS"))

    def status(code: object) -> Any:
        made = Dataset()
        if code is not None:
            made.Status = code
        return made

    def one(r: random.Random) -> None:
        class Association:
            accepted_contexts = (1,)

            def send_c_find(self, asked: Any, model: str) -> Iterator[tuple[Any, Any]]:
                for kind in [_STUDY if asked.QueryRetrieveLevel == "STUDY" else _SERIES] * r.choice((1, 2)):
                    content = _spoilt(kind, r)
                    try:
                        identifier = decode(io.BytesIO(content), True, True)
                    except Exception:  # as pynetdicom does
                        identifier = None
                    yield status(r.choice((0xFF00, 0xFF00, 0xFF01))), identifier
                yield status(r.choice((0, 0, 0, 0, 0, 0, 0, 0, 0xA700, 0xC001, None))), None

        @contextmanager
        def kept(*contexts: Any) -> Iterator[Any]:
            yield Association()

        pacs._associations.kept = kept  # type: ignore[assignment]
        pacs._associations._reached = True
        door(lambda: [(str(s), s.day) for s in pacs.studies(Query(name="M"))])
        for s in (door(pacs.series, "1.2.3") or ())[:1]:
            door(pacs.instances, s)

    return one


def dimse_wire(folder: Path) -> Case:
    """The bytes themselves that a DIMSE server sends: the end of an association, an answer cut short, lengths that lie."""
    from pynetdicom import AE, evt
    from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind as FIND

    from brainseg_engine.pacs import Query, associations, connected, reaching
    from brainseg_engine.pacs.connections import Dimse

    ae = AE("PACS")
    ae.add_supported_context(FIND)

    def find(event: Any) -> Iterator[Any]:
        from pydicom.dataset import Dataset

        row = Dataset()
        row.QueryRetrieveLevel, row.StudyInstanceUID, row.PatientName = "STUDY", "1.2.3", "M^J"
        yield 0xFF00, row

    recorded: list[bytes] = []
    handlers = [(evt.EVT_C_FIND, find), (evt.EVT_DATA_SENT, lambda event: recorded.append(event.data))]
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    with connected("pacs", Dimse(host="127.0.0.1", port=server.server_address[1], title="PACS")) as sound:
        assert len(list(sound.studies(Query()))) == 1
    server.shutdown()
    accepted, answered = recorded[0], b"".join(recorded[1:])
    for module in (associations, reaching):
        module.CONNECT_S = module.ANSWER_S = 0.5  # type: ignore[attr-defined]

    def serve(listener: socket.socket, parts: tuple[bytes, bytes]) -> None:
        try:
            while True:
                caller, _ = listener.accept()
                with caller:
                    caller.settimeout(2)
                    for part in parts:
                        if not caller.recv(65536):
                            break
                        caller.sendall(part)
        except OSError:
            return

    def one(r: random.Random) -> None:
        spoilt = r.random() < 0.5
        parts = (bytes_changed(accepted, r) if spoilt else accepted, answered if spoilt else bytes_changed(answered, r))
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.settimeout(3)
            thread = threading.Thread(target=serve, args=(listener, parts), daemon=True)
            thread.start()

            def ask() -> None:
                with connected("pacs", Dimse(host="127.0.0.1", port=listener.getsockname()[1], title="PACS")) as pacs:
                    for row in pacs.studies(Query()):
                        str(row)

            door(ask)
            listener.shutdown(socket.SHUT_RDWR)
        thread.join(5)

    return one


def watch_state(folder: Path) -> Case:
    """What `pacs watch` remembers of the studies it has seen."""
    import brainseg_engine.pacs as pacs
    from brainseg_engine.cli.pacs_watch import FORMAT, STATE, Round
    from brainseg_engine.pacs import Query, StudyRow, searching

    studies = {"1.2.3": {"status": "failed", "images": 4, "attempts": 1, "message": "x"},
               "1.2.4": {"status": "done", "images": None, "attempts": 1},
               "1.2.5": {"status": "arriving", "images": 2}}  # fmt: skip
    sound = json.dumps({"format": FORMAT, "pacs": "pacs", "studies": studies}).encode()

    @contextmanager
    def there(name: str) -> Iterator[None]:
        yield None

    pacs.connected = there  # type: ignore[assignment]
    searching.search = lambda *_: iter([StudyRow("1.2.3", images=4), StudyRow("1.2.4"), StudyRow("1.2.5", images=3)])  # type: ignore[assignment]

    def look() -> None:
        round_ = Round("pacs", folder, None, False, None, lambda: False)  # type: ignore[arg-type]
        round_._take = lambda row, attempt: round_._note(row, "failed", attempts=attempt)  # type: ignore[method-assign]
        round_.look(Query(), at_once=False)
        json.loads((folder / STATE).read_text())

    def one(r: random.Random) -> None:
        (folder / STATE).write_bytes(json_changed(sound, r))
        door(look)

    return one


def audit(folder: Path) -> Case:
    """The audit file, cut off or changed by whoever: what is added is always a whole line of its own."""
    from brainseg_engine.pacs import audit as kept

    texts = [v for v in ODD if isinstance(v, str)]

    def one(r: random.Random) -> None:
        place = kept.file()
        place.parent.mkdir(parents=True, exist_ok=True)
        place.unlink(missing_ok=True)
        kept.note("sent", "pacs", "1.2.3", "1.2.3.4", 1, ["1.2.5"])
        raw = bytes_changed(place.read_bytes(), r)
        match r.randrange(10):
            case 0:
                place.unlink()
                place.symlink_to(folder / "elsewhere")
            case 1:
                place.unlink()
                os.mkfifo(place)
            case _:
                place.write_bytes(raw)
        ordinary = place.is_file() and not place.is_symlink()
        door(kept.note, "refused", r.choice(texts), "1.2", "1.3", 1, ["1.4"], r.choice(texts))
        assert not (folder / "elsewhere").exists()
        if ordinary:
            last = json.loads(place.read_bytes().rstrip(b"\n").rpartition(b"\n")[2])
            assert (last["action"], last["study"]) == ("refused", "1.2")

    return one


PACS = (pacs_answers, dimse_answers, dimse_wire, watch_state, audit)
