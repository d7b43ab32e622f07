"""Regions as closed meshes in patient millimetres (LPS, as DICOM has it): STL, PLY, OBJ and glTF.

Smoothing shrinks what is round. The level of the surface is therefore chosen so that the mesh holds the volume of the mask.
STL has no place for the coordinate system but its header, where Slicer looks for ``SPACE=LPS``; PLY and OBJ have comments. glTF
counts in metres with the head up and its front towards the viewer: a node turns the millimetres that the file holds into that.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainseg_engine.core.geometry import Grid
from brainseg_engine.core.labels import Mask, Region
from brainseg_engine.core.morphology import Mesh, mesh
from brainseg_engine.core.palette import REGION_COLOURS

SPACE = "napari-brainseg, research use only. SPACE=LPS, mm"
TOGETHER = "glb"
"""The format of which one file holds all regions."""
_LPS_MM_TO_GLTF = (0.001, 0, 0, 0, 0, 0, -0.001, 0, 0, 0.001, 0, 0, 0, 0, 0, 1)  # column by column
_OPACITY: Mapping[Region, float] = {Region.WT: 0.3, Region.TC: 0.5, Region.ET: 1.0}
_SIGMA_VOXELS = 0.8
_CLOSE = 0.005  # of the volume
_STEPS = 12


def closed_mesh(mask: Mask, grid: Grid) -> Mesh:
    """Vertices (n, 3) in LPS mm and faces (m, 3), normals outwards, of the volume of ``mask`` (X, Y, Z); empty for none."""
    wanted = float(np.count_nonzero(mask)) * abs(float(np.linalg.det(grid.affine[:3, :3])))
    low, high = 0.05, 0.95
    best, off = mesh(mask, sigma=_SIGMA_VOXELS), np.inf
    level = 0.5
    for _ in range(_STEPS if wanted else 0):
        vertices, faces = mesh(mask, sigma=_SIGMA_VOXELS, level=level)
        volume = volume_mm3((grid.to_world(vertices), faces))
        if abs(volume - wanted) < off:
            best, off = (vertices, faces), abs(volume - wanted)
        if off <= _CLOSE * wanted:
            break
        low, high = (low, level) if volume < wanted else (level, high)
        level = (low + high) / 2
    vertices, faces = best
    if np.linalg.det(grid.affine[:3, :3]) < 0:  # a mirrored array turns its faces inside out
        faces = np.ascontiguousarray(faces[:, ::-1])
    points = grid.to_world(vertices) * np.array([-1.0, -1.0, 1.0])
    return points.astype(np.float32), faces


def volume_mm3(of: tuple[NDArray[np.floating], NDArray[np.integer]]) -> float:
    """The volume that a closed mesh encloses, whichever way its faces are wound."""
    vertices, faces = of
    a, b, c = (vertices[faces[:, i]].astype(np.float64) for i in range(3))
    return abs(float(np.einsum("ij,ij->", a, np.cross(b, c)))) / 6


def stl(shape: Mesh, name: str) -> bytes:
    """Binary STL."""
    vertices, faces = shape
    corners = vertices[faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    record = np.zeros(len(faces), dtype=[("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("extra", "<u2")])
    record["normal"], record["corners"] = normals, corners
    header = f"{name}. {SPACE}".encode("ascii", "replace")[:80].ljust(80)
    return header + np.uint32(len(faces)).tobytes() + record.tobytes()


def ply(shape: Mesh, name: str) -> bytes:
    """Binary PLY."""
    vertices, faces = shape
    header = (
        f"ply\nformat binary_little_endian 1.0\ncomment {name}\ncomment {SPACE}\nelement vertex {len(vertices)}\n"
        "property float x\nproperty float y\nproperty float z\n"
        f"element face {len(faces)}\nproperty list uchar int vertex_indices\nend_header\n"
    )
    record = np.zeros(len(faces), dtype=[("n", "u1"), ("corners", "<i4", 3)])
    record["n"], record["corners"] = 3, faces
    return header.encode("ascii", "replace") + vertices.astype("<f4").tobytes() + record.tobytes()


def obj(shape: Mesh, name: str) -> bytes:
    """OBJ, as text."""
    vertices, faces = shape
    lines = [f"# {SPACE}", f"o {name}"]
    lines += [f"v {x:.4f} {y:.4f} {z:.4f}" for x, y, z in vertices.tolist()]
    lines += [f"f {a} {b} {c}" for a, b, c in (faces + 1).tolist()]
    return ("\n".join(lines) + "\n").encode("ascii", "replace")


def glb(shapes: Mapping[Region, Mesh]) -> bytes:
    """All regions in one binary glTF 2.0 file, in their colours, those around others translucent."""
    parts: list[bytes] = []
    views: list[dict[str, Any]] = []
    accessors: list[dict[str, Any]] = []

    def add(array: NDArray[Any], target: int, component: int, kind: str, **limits: Any) -> int:
        raw = array.tobytes()
        views.append({"buffer": 0, "byteOffset": sum(map(len, parts)), "byteLength": len(raw), "target": target})
        parts.append(raw + b"\0" * (-len(raw) % 4))
        counted = {"bufferView": len(views) - 1, "componentType": component, "count": len(array), "type": kind}
        accessors.append(counted | limits)
        return len(accessors) - 1

    solids, nodes, materials = [], [], []
    for n, (region, (vertices, faces)) in enumerate(shapes.items()):
        points = vertices.astype("<f4")
        limits = {"min": points.min(axis=0).tolist(), "max": points.max(axis=0).tolist()}
        position = add(points, 34962, 5126, "VEC3", **limits)
        normal = add(_normals(points, faces).astype("<f4"), 34962, 5126, "VEC3")
        corners = add(faces.astype("<u4").ravel(), 34963, 5125, "SCALAR")
        attributes = {"POSITION": position, "NORMAL": normal}
        solids.append(
            {"name": region.value, "primitives": [{"attributes": attributes, "indices": corners, "material": n}]}
        )
        materials.append(_material(region))
        nodes.append({"name": region.value, "mesh": n})
    root = {"name": SPACE, "children": list(range(len(nodes))), "matrix": list(_LPS_MM_TO_GLTF)}
    binary = b"".join(parts)
    document = {
        "asset": {"version": "2.0", "generator": SPACE}, "scene": 0, "scenes": [{"nodes": [len(nodes)]}], "nodes": [*nodes, root],
        "meshes": solids, "materials": materials, "accessors": accessors, "bufferViews": views,
        "buffers": [{"byteLength": len(binary)}],
    }  # fmt: skip
    text = json.dumps(document, separators=(",", ":")).encode("ascii")
    text += b" " * (-len(text) % 4)
    chunks = b"".join(struct.pack("<I4s", len(c), kind) + c for kind, c in ((b"JSON", text), (b"BIN\0", binary)))
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


def _material(region: Region) -> dict[str, Any]:
    colour = [*(round(c, 4) for c in REGION_COLOURS[region]), _OPACITY[region]]
    surface = {"baseColorFactor": colour, "metallicFactor": 0.0, "roughnessFactor": 0.7}
    see_through = {"alphaMode": "BLEND"} if _OPACITY[region] < 1 else {}
    return {"name": region.value, "pbrMetallicRoughness": surface, **see_through}


def _normals(vertices: NDArray[np.floating], faces: NDArray[np.integer]) -> NDArray[np.float64]:
    """Unit normals of the vertices: the mean of their faces', by area."""
    corners = vertices.astype(np.float64)[faces]
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    out = np.zeros((len(vertices), 3))
    for i in range(3):
        np.add.at(out, faces[:, i], across)
    length = np.linalg.norm(out, axis=1, keepdims=True)
    out[length[:, 0] == 0] = (0, 0, 1)
    return out / np.where(length == 0, 1, length)


FORMATS: Mapping[str, Callable[[Mesh, str], bytes]] = {"stl": stl, "ply": ply, "obj": obj}
