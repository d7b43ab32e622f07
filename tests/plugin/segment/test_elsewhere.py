"""Choosing a machine elsewhere as the device: what is there is said, what is missing too, and it is offered again."""

from __future__ import annotations

from helpers.rig import Later
from qtpy.QtWidgets import QInputDialog

from brainseg_engine.core.errors import DeviceError
from brainseg_engine.core.events import Failed
from brainseg_engine.phantom import phantom_study, write_study
from brainseg_engine.remote import Host, known
from napari_brainseg.features.segment.section import ANOTHER, SegmentSection
from napari_brainseg.features.segment.view import SegmentView
from napari_brainseg.session import DEVICES, Kind

MACHINE = {
    "torch": "2.6",
    "gpus": [{"name": "NVIDIA A100", "free": 60 * 2**30, "total": 80 * 2**30}],
    "cores": 16,
    "memory": 2**37,
}


def test_a_machine_says_what_it_has_and_is_remembered(house, monkeypatch):
    monkeypatch.setattr(Host, "machine", lambda self: MACHINE)
    house.segment.choose_device("ssh:gpu1")
    message = house.session.message
    assert house.session.device == "ssh:gpu1" and message.kind is Kind.GOOD
    assert "NVIDIA A100: 60.0 of 80.0 GiB free" in message.text and known.used() == ["ssh:gpu1"]
    house.segment.choose_device("auto")
    assert house.session.device == "auto" and known.used() == ["ssh:gpu1"]


def test_a_machine_that_is_not_there_is_said_and_one_can_compute_here(house, monkeypatch):
    def absent(self):
        raise DeviceError("gpu1 accepts none of your keys.")

    monkeypatch.setattr(Host, "machine", absent)
    house.segment.choose_device("ssh:gpu1")
    message = house.session.message
    assert message.kind is Kind.ERROR and "none of your keys" in message.text and known.used() == []
    words, back = message.offer
    back()
    assert words == "Compute here" and house.session.device == "auto"


def test_of_two_machines_chosen_quickly_the_last_one_counts(house, monkeypatch):
    monkeypatch.setattr(Host, "machine", lambda self: MACHINE)
    house.background = later = Later()
    house.segment.choose_device("ssh:a")
    house.segment.choose_device("ssh:b")
    later.run()
    assert "ssh:a" not in house.session.message.text and "Connecting to b" in house.session.message.text
    later.run()
    assert house.session.message.text.startswith("b:") and house.session.device == "ssh:b"


def test_what_is_no_machine_changes_nothing(house):
    house.segment.choose_device("ssh:-oProxyCommand=x")
    assert house.session.device == "auto" and house.session.message.kind is Kind.ERROR


def test_labels_stay_when_the_line_breaks_and_the_job_is_offered_again(house, tmp_path, monkeypatch):
    monkeypatch.setattr(Host, "machine", lambda self: MACHINE)
    house.study.open(write_study(phantom_study(1, (24, 28, 20)), tmp_path))
    house.segment.choose_device("ssh:gpu1")
    house.segment.segment()
    request, listener = house.runner.jobs[-1]
    assert request.device == "ssh:gpu1" and house.runner.warmed[-1] == ("model.safetensors", "ssh:gpu1")
    listener.failed(Failed(request.id, "The connection to gpu1 broke. It did not come back."))
    words, again = house.session.message.offer
    assert words == "Try again" and house.session.job is None
    again()
    assert len(house.runner.jobs) == 2 and house.runner.jobs[-1][0].device == "ssh:gpu1"


def test_the_list_of_devices_asks_for_another_machine(house, qtbot, monkeypatch):
    monkeypatch.setattr(Host, "machine", lambda self: MACHINE)
    monkeypatch.setattr(known, "configured", lambda: ["gpu2"])
    view = SegmentView(DEVICES)
    qtbot.addWidget(view)
    SegmentSection(view, house.segment, house.context)
    asked = []

    def get(parent, title, words, hosts, *more):
        asked.append(hosts)
        return " gpu1 ", True

    monkeypatch.setattr(QInputDialog, "getItem", get)
    combo = view.device
    assert combo.itemData(combo.count() - 1) == ANOTHER
    combo.setCurrentIndex(combo.count() - 1)
    combo.activated.emit(combo.count() - 1)
    assert asked == [["gpu2"]] and house.session.device == "ssh:gpu1"
    assert combo.currentData() == "ssh:gpu1" and combo.currentText() == "gpu1 (ssh)"
    monkeypatch.setattr(QInputDialog, "getItem", lambda *_: ("", False))
    combo.activated.emit(combo.count() - 1)
    assert combo.currentData() == "ssh:gpu1"


def test_hosts_by_name_in_the_configuration_are_offered(tmp_path):
    config = tmp_path / "config"
    config.write_text("Host *\n  User x\nhost gpu1 gpu2\nHost=lab\nHost *.example !bad web?\nMatch host z\n")
    assert known.configured(config) == ["gpu1", "gpu2", "lab"] and known.configured(tmp_path / "none") == []
