"""Which DICOM attributes a de-identified object keeps, and why: all that is not named here is left out.

The Basic Application Level Confidentiality Profile (DICOM PS3.15, table E.1-1) lists what to remove. Here it is turned round:
what is needed to look at an image, to place it and to know how it was made is named, everything else goes, so that private
elements and what the standard adds later go too. None of these is to be removed by that table but those that are replaced
(UIDs, dates, the patient's name and id) or emptied.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class KeptGroup:
    """Attributes (by their keywords) that are kept for one reason; ``how`` says what becomes of their values."""

    why: str
    how: str
    keywords: tuple[str, ...]


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


UIDS, DATES, EMPTY, VALUES, NESTED = "mapped", "shifted", "emptied", "kept", "cleaned inside"

GROUPS: tuple[KeptGroup, ...] = (
    KeptGroup(
        "which objects belong together", UIDS,
        _words("StudyInstanceUID SeriesInstanceUID SOPInstanceUID FrameOfReferenceUID DimensionOrganizationUID ConcatenationUID"),
    ),
    KeptGroup("what kind of object it is", VALUES, _words("SOPClassUID Modality ImageType SpecificCharacterSet")),
    KeptGroup(
        "the order in time, contrast before and after, follow-up", DATES,
        _words(
            "StudyDate StudyTime SeriesDate SeriesTime AcquisitionDate AcquisitionTime ContentDate ContentTime "
            "AcquisitionDateTime FrameAcquisitionDateTime FrameReferenceDateTime"
        ),
    ),
    KeptGroup(
        "must be there, though empty", EMPTY,
        _words(
            "PatientBirthDate PatientSex StudyID AccessionNumber ReferringPhysicianName PositionReferenceIndicator Laterality "
            "PatientOrientation"
        ),
    ),
    KeptGroup(
        "the order of series and images", VALUES,
        _words(
            "SeriesNumber AcquisitionNumber InstanceNumber NumberOfFrames InConcatenationNumber InConcatenationTotalNumber "
            "ConcatenationFrameOffsetNumber TemporalPositionIdentifier NumberOfTemporalPositions ImagesInAcquisition "
            "StackID InStackPositionNumber DimensionIndexValues DimensionIndexPointer FunctionalGroupPointer "
            "DimensionOrganizationType FrameAcquisitionNumber TemporalPositionIndex"
        ),
    ),
    KeptGroup(
        "where the image lies in the patient", VALUES,
        _words(
            "ImagePositionPatient ImageOrientationPatient PixelSpacing SliceThickness SpacingBetweenSlices SliceLocation "
            "PatientPosition BodyPartExamined VolumetricProperties FrameLaterality"
        ),
    ),
    KeptGroup(
        "how the pixels are stored and shown", VALUES,
        _words(
            "Rows Columns SamplesPerPixel PhotometricInterpretation BitsAllocated BitsStored HighBit PixelRepresentation "
            "PlanarConfiguration PixelAspectRatio PixelPaddingValue RescaleSlope RescaleIntercept RescaleType WindowCenter "
            "WindowWidth VOILUTFunction LossyImageCompression LossyImageCompressionRatio LossyImageCompressionMethod "
            "PresentationLUTShape BurnedInAnnotation ComplexImageComponent AcquisitionContrast PixelPresentation "
            "VolumeBasedCalculationTechnique ContentQualification PixelData"
        ),
    ),
    KeptGroup(
        "how it was acquired", VALUES,
        _words(
            "Manufacturer ManufacturerModelName MagneticFieldStrength ScanningSequence SequenceVariant ScanOptions "
            "MRAcquisitionType RepetitionTime EchoTime InversionTime InversionTimes EffectiveEchoTime EchoTrainLength "
            "EchoNumbers FlipAngle NumberOfAverages ImagingFrequency ImagedNucleus NumberOfPhaseEncodingSteps PercentSampling "
            "PercentPhaseFieldOfView PixelBandwidth AcquisitionMatrix InPlanePhaseEncodingDirection SAR dBdt TriggerTime "
            "VariableFlipAngleFlag DiffusionBValue DiffusionDirectionality DiffusionGradientOrientation ReconstructionDiameter "
            "PulseSequenceName EchoPulseSequence InversionRecovery MultipleSpinEcho MultiPlanarExcitation PhaseContrast "
            "TimeOfFlightContrast SteadyStatePulseSequence EchoPlanarPulseSequence SaturationRecovery "
            "SpectrallySelectedSuppression GeometryOfKSpaceTraversal SegmentedKSpaceTraversal RectilinearPhaseEncodeReordering "
            "KSpaceFiltering ResonantNucleus MagnetizationTransfer BloodSignalNulling T2Preparation FrameType RFEchoTrainLength "
            "GradientEchoTrainLength MRAcquisitionFrequencyEncodingSteps "
            "MRAcquisitionPhaseEncodingStepsInPlane AcquisitionDuration FrameAcquisitionDuration FrameReferenceTime"
        ),
    ),
    KeptGroup(
        "the groups of multi-frame images", NESTED,
        _words(
            "SharedFunctionalGroupsSequence PerFrameFunctionalGroupsSequence PixelMeasuresSequence PlanePositionSequence "
            "PlaneOrientationSequence FrameContentSequence PixelValueTransformationSequence FrameVOILUTSequence "
            "MRImageFrameTypeSequence MRTimingAndRelatedParametersSequence MREchoSequence MRModifierSequence "
            "MRImagingModifierSequence MRFOVGeometrySequence MRAveragesSequence MRDiffusionSequence "
            "DiffusionGradientDirectionSequence FrameAnatomySequence AnatomicRegionSequence DimensionOrganizationSequence "
            "DimensionIndexSequence"
        ),
    ),
    KeptGroup("codes of the standard's own lists", VALUES, _words("CodeValue CodingSchemeDesignator CodeMeaning")),
)  # fmt: skip
"""The table that the documentation shows."""

HOW: Mapping[str, str] = {keyword: group.how for group in GROUPS for keyword in group.keywords}
"""Keyword → what becomes of it; one that is not here is left out."""

TEXTS = frozenset({"Manufacturer", "ManufacturerModelName", "PulseSequenceName", "StackID", "CodeValue", "CodeMeaning",
                   "CodingSchemeDesignator", "RescaleType"})  # fmt: skip
"""The only texts of free form among them: of the device, and of codes."""

SCHEMES = frozenset({"DCM", "SCT", "SRT", "UCUM", "NCIt", "LN", "RADLEX", "FMA"})
"""Coding schemes of public lists; a code of any other could mean anything."""
