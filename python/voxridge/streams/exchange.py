"""Features and responses in the files of other projects: into the stores and out of them.

Responses of these projects come in through `voxridge.responses.build_response_store`.
"""

from __future__ import annotations

from voxridge.streams.exchange_huth import export_huth_features, export_huth_responses, import_huth_features
from voxridge.streams.exchange_tutorial import (
    export_tutorial_features,
    export_tutorial_responses,
    import_tutorial_features,
)

__all__ = [
    "export_huth_features",
    "export_huth_responses",
    "export_tutorial_features",
    "export_tutorial_responses",
    "import_huth_features",
    "import_tutorial_features",
]
