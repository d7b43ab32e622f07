"""The PACS from the window: connections, the worklist, and results sent back, of which one thing is done at a time."""

from __future__ import annotations

from napari_brainseg.features.context import Context
from napari_brainseg.features.pacs.connections import ConnectionVerbs
from napari_brainseg.features.pacs.sending import SendVerbs, Writing
from napari_brainseg.features.pacs.work import OneAtATime
from napari_brainseg.features.pacs.worklist import WorklistVerbs


class PacsVerbs:
    """What the worklist, the connections and *Send* mean."""

    def __init__(self, context: Context, writing: Writing) -> None:
        self.work = OneAtATime(context)
        self.connections = ConnectionVerbs(self.work)
        self.worklist = WorklistVerbs(context.session, self.work)
        self.sending = SendVerbs(context, self.work, writing)

    def look_again(self) -> None:
        """Somebody may have changed the files of the connections, or the outbox."""
        self.connections.read_again()
        self.sending.look_again()
