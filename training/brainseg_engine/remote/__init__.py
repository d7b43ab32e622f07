"""A machine that is elsewhere, over the user's own ssh: the worker's commands through one connection.

Here :class:`~.host.Host` asks, through an ``ssh`` process (:mod:`.line`); there ``napari-brainseg device serve``
(:mod:`.serving`) answers, by a worker of its own. Nothing listens, no port is opened, no password is kept: who may log in
is ssh's affair. What goes over is voxels and affines (:mod:`.parcels`): no name, no path, and nothing of it is written
there but the models, by the hash of what they hold.
"""

from __future__ import annotations

from brainseg_engine.remote.host import Host
from brainseg_engine.remote.place import Place, is_remote

__all__ = ["Host", "Place", "is_remote"]
