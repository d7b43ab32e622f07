"""DICOM objects derived from images: the series they stand on, and reading SEG and RTSTRUCT back as masks."""
