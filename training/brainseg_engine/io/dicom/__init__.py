"""DICOM as hospitals export it: folders of thousands of files, CDs, archives; sorted by position and orientation alone."""

from brainseg_engine.io.dicom.listing import list_dicom
from brainseg_engine.io.dicom.pixels import read_voxels
from brainseg_engine.io.dicom.scan import first_study, holds_dicom

__all__ = ["first_study", "holds_dicom", "list_dicom", "read_voxels"]
