"""Connections in their file: what is read, what is refused and in which words, and that no secret gets into it."""

from __future__ import annotations

import stat

import pytest

from brainseg_engine.core.errors import InputError
from brainseg_engine.pacs import connections
from brainseg_engine.pacs.connections import DicomWeb, Dimse

WEB = 'kind = "dicomweb"\nurl = "https://pacs.example/dicom-web"\n'
DIMSE = 'kind = "dimse"\nhost = "pacs.example"\nport = 104\ntitle = "ARCHIVE"\n'


def written(text: str) -> None:
    connections.file().parent.mkdir(parents=True, exist_ok=True)
    connections.file().write_text(text)


def test_what_was_saved_is_read_back_and_is_for_its_owner_alone():
    made = {
        "archive": DicomWeb(url="https://pacs.example:8443/dicom-web", login="basic", user='an"na'),
        "old-one": Dimse(
            host="10.0.0.7", port=104, title="ÄRZTE".replace("Ä", "A"), retrieve="move", listen="10.0.0.9"
        ),
    }
    connections.save(made)
    assert connections.read() == made
    assert stat.S_IMODE(connections.file().stat().st_mode) == 0o600


def test_no_file_is_no_connection():
    assert connections.read() == {}
    with pytest.raises(InputError, match="None is set up yet"):
        connections.find("archive")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f'[a]\n{WEB}password = "x"\n', "does not belong into a file"),
        (f'[a]\n{WEB}api_token = "x"\n', "does not belong into a file"),
        ("[a]\n" + WEB.replace("https://", "https://anna:geheim@"), "no password in the url"),
        ("[a]\n" + WEB.replace("https", "ftp"), "begins with https"),
        ("[a]\n" + WEB.replace("example/", "example:99999/"), "no address"),
        (f'[a]\n{WEB}login = "basic"\n', "needs a user"),
        (f'[a]\n{WEB}key = "k.pem"\n', "a key belongs to a certificate"),
        (f"[a]\n{WEB}colour = 3\n", "colour: is no such setting"),
        ('[a]\nkind = "ftp"\n', "kind is"),
        ("[a]\n" + DIMSE.replace("104", "104000"), "port"),
        ("[a]\n" + DIMSE.replace('title = "ARCHIVE"', ""), "title: is missing"),
        ("[a]\n" + DIMSE.replace("ARCHIVE", "A" * 17), "title"),
        (f'[a]\n{DIMSE}ca = "x.pem"\n', "needs tls = true"),
        (f'[a]\n{DIMSE}tls = true\nretrieve = "move"\n', "a certificate of our own"),
        (f'["a/b"]\n{WEB}', "cannot name a connection"),
        ("a = 3\n", "is no table"),
        ("[a\n", "no TOML file"),
    ],
)
def test_what_is_wrong_is_said_with_the_file(text, said):
    written(text)
    with pytest.raises(InputError, match=said) as e:
        connections.read()
    assert "a/b" in text or str(connections.file()) in str(e.value)


def test_an_error_never_quotes_the_password():
    written("[a]\n" + WEB.replace("https://", "https://anna:geheim@"))
    with pytest.raises(InputError) as e:
        connections.read()
    assert "geheim" not in str(e.value)
