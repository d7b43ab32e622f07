"""Raw series → aligned, brain only, 1 mm → and the answer back onto the series they came from::

prepared = prepare(study, progress=..., cancelled=...)          # a Study whose series lie on their own grids
prediction = predictor.predict(prepared.study, probabilities=True)
mask = prepared.back(prediction)                                # on the reference series' own grid
on_flair = prepared.back(prediction, Modality.FLAIR)
training_mask = prepared.forward(painted)                       # painted on the reference's grid → the 1 mm grid
"""

from brainseg_engine.prepare.pipeline import PrepareOptions, prepare
from brainseg_engine.prepare.prepared import Prepared
from brainseg_engine.prepare.quality import Quality
from brainseg_engine.prepare.rigid import Rigid, read_transform, write_transform

__all__ = ["PrepareOptions", "Prepared", "Quality", "Rigid", "prepare", "read_transform", "write_transform"]
