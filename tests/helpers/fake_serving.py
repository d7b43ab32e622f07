"""``napari-brainseg device serve`` with the threshold of ``fake_worker``: what it is asked is kept in FAKE_SERVING_LOG."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from brainseg_engine.remote import parcels, serving

read = parcels.read


def logged(pipe, *more):
    parcel = read(pipe, *more)
    sizes = [head.get("bytes") for head in parcel.fields.get("arrays", {}).values()]
    with Path(os.environ["FAKE_SERVING_LOG"]).open("a") as f:
        f.write(json.dumps({**parcel.fields, "sizes": sizes, "names": sorted(parcel.arrays)}) + "\n")
    return parcel


if __name__ == "__main__":
    parcels.read = logged
    serving.main([sys.executable, str(Path(__file__).with_name("fake_worker.py"))])
