"""The fsaverage5 surface that nilearn ships, and smooth random fields on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]
HEMISPHERES = ("left", "right")


@dataclass(frozen=True)
class Hemisphere:
    """One side of a cortical surface.

    Attributes
    ----------
    side : "left" or "right"
    pial, inflated, sphere : ndarray (n_vertices, 3) float64
        Coordinates in mm; only the pial surface has its place in the head.
    faces : ndarray (n_faces, 3) int
    sulcal : ndarray (n_vertices,) float64
        Depth, positive in the sulci.
    flat : ndarray (n_vertices, 2) float64, or None
        Cut open and laid out; without meaning for the vertices at the cuts and on the medial wall.
    flat_faces : ndarray (n_flat_faces, 3) int, or None
    white : ndarray (n_vertices, 3) float64, or None
        The inner surface of the cortex, for projections.
    """

    side: str
    pial: Float64
    inflated: Float64
    sphere: Float64
    faces: NDArray[np.int64]
    sulcal: Float64
    flat: Float64 | None = None
    flat_faces: NDArray[np.int64] | None = None
    white: Float64 | None = None

    @property
    def n_vertices(self) -> int:
        """Vertices of this side."""
        return len(self.pial)

    def distance_from(self, point: Sequence[float]) -> Float64:
        """Distance on the registration sphere (radius 100 mm) from the vertex nearest to a place.

        Parameters
        ----------
        point : (x, y, z)
            On the pial surface, mm.

        Returns
        -------
        ndarray (n_vertices,) float64
        """
        start = np.linalg.norm(self.pial - np.asarray(point, dtype=np.float64), axis=1).argmin()
        unit = self.sphere / np.linalg.norm(self.sphere, axis=1, keepdims=True)
        return np.asarray(100.0 * np.arccos(np.clip(unit @ unit[start], -1.0, 1.0)), dtype=np.float64)

    def smoother(self) -> Any:
        """Sparse (n_vertices, n_vertices) averaging of each vertex with its neighbours; rows sum to one."""
        from scipy.sparse import coo_array, csr_array, eye_array

        edges = np.concatenate([self.faces[:, [0, 1]], self.faces[:, [1, 2]], self.faces[:, [2, 0]]])
        edges = np.concatenate([edges, edges[:, ::-1]])
        n = self.n_vertices
        links = coo_array((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(n, n)).tocsr()
        links.data[:] = 1.0  # an edge shared by two faces was counted twice
        links = csr_array(links + eye_array(n))
        return csr_array(links.multiply(1.0 / np.asarray(links.sum(axis=1)).reshape(-1, 1)))

    def smooth_fields(self, n_fields: int, width: float, rng: np.random.Generator) -> Float64:
        """Gaussian random fields with unit variance.

        Parameters
        ----------
        n_fields : int
        width : float
            Correlation length on the registration sphere, mm.
        rng : numpy.random.Generator

        Returns
        -------
        ndarray (n_vertices, n_fields) float64
        """
        centres = rng.standard_normal((600, 3))
        centres /= np.linalg.norm(centres, axis=1, keepdims=True)
        unit = self.sphere / np.linalg.norm(self.sphere, axis=1, keepdims=True)
        kernel = np.exp((unit @ centres.T - 1.0) * (100.0 / width) ** 2)
        fields = kernel @ rng.standard_normal((600, n_fields))
        return np.asarray(fields / np.sqrt((kernel**2).sum(axis=1, keepdims=True)), dtype=np.float64)


@dataclass(frozen=True)
class Cortex:
    """Left and right hemisphere; arrays over the whole cortex run over the left one first.

    Attributes
    ----------
    left, right : Hemisphere
    """

    left: Hemisphere
    right: Hemisphere

    @property
    def sides(self) -> tuple[Hemisphere, Hemisphere]:
        """Left and right."""
        return self.left, self.right

    @property
    def n_vertices(self) -> int:
        """Vertices of both sides."""
        return self.left.n_vertices + self.right.n_vertices

    def side_mask(self, side: str) -> NDArray[np.bool_]:
        """Vertices of one hemisphere.

        Parameters
        ----------
        side : "left" or "right"

        Returns
        -------
        ndarray (n_vertices,) bool
        """
        left = np.arange(self.n_vertices) < self.left.n_vertices
        return left if side == "left" else ~left

    def split(self, values: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Values of the whole cortex as those of the left and those of the right hemisphere.

        Parameters
        ----------
        values : (..., n_vertices)

        Returns
        -------
        tuple of two ndarray

        Raises
        ------
        ValueError
            The last axis of ``values`` is not the vertices.
        """
        if values.shape[-1] != self.n_vertices:
            raise ValueError(
                f"values has shape {values.shape}; the last axis must be {self.n_vertices} vertices"
            )
        return values[..., : self.left.n_vertices], values[..., self.left.n_vertices :]


def load_cortex() -> Cortex:
    """fsaverage5 from nilearn's own files (nothing is downloaded).

    Raises
    ------
    ImportError
        When nilearn is not installed.

    Examples
    --------
    >>> cortex = load_cortex()
    >>> cortex.n_vertices, cortex.left.pial.shape
    (20484, (10242, 3))
    """
    try:
        from nilearn.datasets import load_fsaverage, load_fsaverage_data
    except ImportError as error:
        raise ImportError(
            "the cortical surface needs nilearn: python -m pip install 'voxridge[brain]'"
        ) from error
    meshes = load_fsaverage("fsaverage5")
    sulcal = load_fsaverage_data(mesh="fsaverage5", data_type="sulcal").data.parts
    sides = []
    for side in HEMISPHERES:
        parts = {
            name: meshes[name].parts[side] for name in ("pial", "inflated", "sphere", "flat", "white_matter")
        }
        coordinates = {name: np.asarray(part.coordinates, dtype=np.float64) for name, part in parts.items()}
        sides.append(
            Hemisphere(
                side,
                coordinates["pial"],
                coordinates["inflated"],
                coordinates["sphere"],
                np.asarray(parts["pial"].faces, dtype=np.int64),
                np.asarray(sulcal[side], dtype=np.float64),
                coordinates["flat"][:, :2],
                np.asarray(parts["flat"].faces, dtype=np.int64),
                coordinates["white_matter"],
            )
        )
    return Cortex(sides[0], sides[1])
