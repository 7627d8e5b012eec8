"""Brain responses from the files of the field to a response store: volumes, surfaces, CIFTI, tables.

The public names are loaded on first use, and nibabel and nilearn when the first image is read (PEP 562).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from voxridge._lazy import lazy_names

if TYPE_CHECKING:
    from voxridge.responses.average import average_subjects
    from voxridge.responses.build import build_response_store
    from voxridge.responses.cleaning import Cleaning
    from voxridge.responses.completeness import CompletenessReport, check_complete
    from voxridge.responses.fmriprep import FmriprepRun, find_fmriprep, read_fmriprep
    from voxridge.responses.geometry import Geometry
    from voxridge.responses.readers import ResponseSource, read_responses

_HOME = {
    "Cleaning": "cleaning",
    "CompletenessReport": "completeness",
    "FmriprepRun": "fmriprep",
    "Geometry": "geometry",
    "ResponseSource": "readers",
    "average_subjects": "average",
    "build_response_store": "build",
    "check_complete": "completeness",
    "find_fmriprep": "fmriprep",
    "read_fmriprep": "fmriprep",
    "read_responses": "readers",
}

__all__ = [
    "Cleaning",
    "CompletenessReport",
    "FmriprepRun",
    "Geometry",
    "ResponseSource",
    "average_subjects",
    "build_response_store",
    "check_complete",
    "find_fmriprep",
    "read_fmriprep",
    "read_responses",
]

__getattr__, __dir__ = lazy_names(__name__, _HOME)
