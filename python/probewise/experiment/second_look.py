# SPDX-License-Identifier: BSD-3-Clause
"""Atoms as the sites of a run, where a second and slower measurement than the frame that showed them is worth it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from probewise.types import Atoms, FloatArray, Frame


def atom_sites(
    frame: Frame,
    atoms: Atoms,
    *,
    side_nm: float,
    of: Sequence[str] = (),
    fov_nm: tuple[float, float] | None = None,
) -> FloatArray:
    """Centres for `sites.list`: (n, 2) float64 (y, x) nm from the top left of the survey field.

    frame    that the atoms were found in
    atoms    in its pixels; from left to right and top to bottom is not needed
    side_nm  of the sites (`sites.side_nm`); atoms nearer than half of it to the field's edge are left out
    of       names of the classes to keep; empty: all
    fov_nm   (y, x) sides of the survey field; None: the frame is the survey itself
    raises   ValueError for a class that `atoms` does not name, a rotated frame, or when no atom is left
    """
    if frame.context.rotation_rad:
        raise ValueError(
            f"frame is rotated by {frame.context.rotation_rad:g} rad, expected one along the survey's axes"
        )
    for name in of:
        if name not in atoms.classes:
            raise ValueError(f"of holds {name!r}, expected some of {', '.join(atoms.classes) or 'no class'}")
    from probewise.descriptors.picture import positions_nm

    field = np.array(frame.context.fov_nm if fov_nm is None else fov_nm)
    chosen = np.isin(atoms.label, [atoms.classes.index(name) for name in of]) if of else slice(None)
    fractions = (atoms.yx[chosen] + 0.5) / np.array(frame.shape, dtype=np.float64)
    places = positions_nm(frame, fractions) + field / 2
    inside = ((places >= side_nm / 2) & (places <= field - side_nm / 2)).all(axis=1)
    if not inside.any():
        raise ValueError(
            f"none of the {len(atoms)} atoms is left to measure at, expected one of {', '.join(of) or 'any class'} at "
            f"least {side_nm / 2:g} nm from the edge of the field"
        )
    return places[inside]
