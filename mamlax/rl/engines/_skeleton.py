"""Where the mass of a body is, as a function of its joints; to be differentiated.

The frame of body b is turned by R_b against the world, R_b = R_parent Q_b exp(q_b [axis_b]), and
the center of mass of all bodies is a sum over these matrices with constant weights:

    c(q) = root(q) + Σ_b R_b w_b
    M w_b = m_b i_b − M_b p_b + Σ_{children c of b} M_c (o_c + Q_c p_c)

with m a body's mass and i its center, M_b that of b and all below it, o the place of a body in its
parent's frame, p that of its joint in its own, and M all mass.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from ._model import mujoco_library

_FREE, _SLIDE, _HINGE = 0, 2, 3  # MuJoCo's kinds of joints


class Skeleton:
    """the kinematics of one body: a root that slides, turns or is free; hinges elsewhere.

    Args:
        model: an `mujoco.MjModel`.

    Raises:
        ValueError: if it has joints of other kinds.
    """

    def __init__(self, model: PyTree):
        self.is_free = bool(model.jnt_type[0] == _FREE)
        count = model.nbody
        self.hinges = np.full(count, -1)  # where in the position is the angle of a body
        self.slides = np.zeros((model.nq, 3))
        self.straight = np.zeros((count, 3, 3))  # a body's turn is straight + sin + cos parts
        self.sines, self.cosines = np.zeros((2, count, 3, 3))
        turns, pivots = np.zeros((count, 3, 3)), np.zeros((count, 3))
        for body in range(count):
            turns[body] = self.straight[body] = _matrix(model.body_quat[body])
        for joint in range(model.njnt):
            body, place = model.jnt_bodyid[joint], model.jnt_qposadr[joint]
            axis, kind = model.jnt_axis[joint], model.jnt_type[joint]
            if kind == _SLIDE and body == 1:
                self.slides[place] = turns[body] @ axis
            elif kind == _HINGE and self.hinges[body] < 0 and model.qpos0[place] == 0:
                self.hinges[body], pivots[body] = place, model.jnt_pos[joint]
                cross = np.cross(axis, np.eye(3)).T  # cross @ v is axis × v
                self.straight[body] = turns[body] @ np.outer(axis, axis)
                self.sines[body] = turns[body] @ cross
                self.cosines[body] = turns[body] @ (np.eye(3) - np.outer(axis, axis))
            elif kind != _FREE or body != 1:
                raise ValueError(
                    f"joint {joint} of this model is of another kind: only the first body may "
                    "slide or be free, and each body may have one hinge, straight at rest."
                )

        below, weights = model.body_mass.copy(), np.zeros((count, 3))
        for body in range(count - 1, 0, -1):
            below[model.body_parentid[body]] += below[body]
        for body in range(1, count):
            weights[body] += model.body_mass[body] * model.body_ipos[body]
            if body == 1 and self.is_free:
                continue
            weights[body] -= below[body] * pivots[body]
            offset = model.body_pos[body] + turns[body] @ pivots[body]
            weights[model.body_parentid[body]] += below[body] * offset
        self.weights = weights / model.body_mass[1:].sum()
        # a slide moves from where the model stands
        self.weights[0] -= model.qpos0 @ self.slides
        depth = np.zeros(count, int)
        for body in range(1, count):
            depth[body] = depth[model.body_parentid[body]] + 1
        self.parents = model.body_parentid.copy()
        self.levels = [np.flatnonzero(depth == level) for level in range(1, depth.max() + 1)]
        # bodies in a plane are common, and their matrices would take most of the time
        self.plane = self._plane(model)

    def rotations(self, position: PyTree) -> PyTree:
        """The rotation matrices `[bodies, 3, 3]`, the world's first."""
        levels = self._rotations(position)
        order = np.argsort(np.concatenate([[0], *self.levels]))
        return jnp.concatenate([jnp.eye(3, dtype=position.dtype)[None], *levels])[order]

    def center_of_mass(self, position: PyTree) -> PyTree:
        """The center of mass `[3]`, in meters."""
        number = position.dtype
        if self.plane is not None:
            turns, across, ahead, along = (jnp.asarray(x, number) for x in self.plane)
            angles = position @ turns
            return jnp.cos(angles) @ across + jnp.sin(angles) @ ahead + along + self._slid(position)
        center = jnp.asarray(self.weights[0], number)
        for bodies, turns in zip(self.levels, self._rotations(position), strict=True):
            weights = jnp.asarray(self.weights[bodies], number)
            center += jnp.sum(turns * weights[:, None], axis=(0, 2))
        return center + (position[:3] if self.is_free else self._slid(position))

    def _slid(self, position: PyTree) -> PyTree:
        return position @ jnp.asarray(self.slides, position.dtype)

    def _plane(self, model: PyTree) -> tuple[np.ndarray, ...] | None:
        """Where all hinges are parallel: what turns each body `[nq, bodies]`, and what turns."""
        hinges = model.jnt_type == _HINGE
        axes = model.jnt_axis[hinges]
        straight = np.array([1.0, 0.0, 0.0, 0.0])
        if self.is_free or (axes != axes[:1]).any() or (model.body_quat != straight).any():
            return None
        turns = np.zeros((model.nq, model.nbody))
        for body in range(1, model.nbody):
            turns[:, body] = turns[:, self.parents[body]]
            turns[self.hinges[body], body] += self.hinges[body] >= 0
        along = self.weights @ np.outer(axes[0], axes[0])
        return turns, self.weights - along, np.cross(axes[0], self.weights), along.sum(axis=0)

    def _rotations(self, position: PyTree) -> list[PyTree]:
        """Those of each level `[bodies, 3, 3]`."""
        found = [jnp.eye(3, dtype=position.dtype)[None]]
        for above, bodies in zip([np.zeros(1, int), *self.levels], self.levels, strict=False):
            hinges, number = self.hinges[bodies], position.dtype
            angles = position @ jnp.asarray(np.eye(len(position))[hinges].T, number)
            angles = angles[:, None, None]
            turns = jnp.asarray(self.straight[bodies], number)
            turns = turns + jnp.asarray(self.sines[bodies], number) * jnp.sin(angles)
            turns = turns + jnp.asarray(self.cosines[bodies], number) * jnp.cos(angles)
            if self.is_free and len(found) == 1:
                turns = _rotation(position[3:7])[None]
            parents = found[-1][np.searchsorted(above, self.parents[bodies])]
            # a product of many small matrices: XLA's own stumbles over it, mapped twice
            found.append(jnp.sum(parents[..., None] * turns[:, None], axis=-2))
        return found[1:]

    def motion(self, position: PyTree, velocity: PyTree) -> tuple[PyTree, PyTree]:
        """The center of mass `[3]`, in meters, and its velocity `[3]`, in meters per second."""
        rate = velocity
        if self.is_free:
            w, x, y, z = position[3:7]
            spread = jnp.array([[-x, -y, -z], [w, -z, y], [z, w, -x], [-y, x, w]])
            rate = jnp.concatenate([velocity[:3], 0.5 * spread @ velocity[3:6], velocity[6:]])
        found = jax.jvp(self.center_of_mass, (position,), (rate,))
        # both are used; without this, XLA computes all of it for each use
        return jax.lax.optimization_barrier(found)


def _matrix(quaternion: PyTree) -> np.ndarray:
    found = np.zeros(9)
    mujoco_library().mju_quat2Mat(found, quaternion)
    return found.reshape(3, 3)


def _rotation(quaternion: PyTree) -> PyTree:
    """The rotation matrix of a quaternion, w first, of any length."""
    w, x, y, z = quaternion / jnp.linalg.norm(quaternion)
    return jnp.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
