"""The arithmetic of `export=secure`: integers in, integers out, no branch and no index that depends on them.

This text goes into every exported program.py as it is, so it imports next to nothing. `xp` is numpy, or jax.numpy where
the integers are secret: each function is then a few messages for all units at once. Values are int64 (rows, size).
"""

# ruff: noqa: B905
from typing import Any


def rounded(total: Any, shift: int) -> Any:
    """Return total * 2 ** -shift, halves rounded up.

    One more is added before the shift and taken away after it, so that shared bits become shared integers once and not
    in every later use.
    """
    return total << -shift if shift <= 0 else ((total + (3 << (shift - 1))) >> shift) - 1


def held(xp: Any, x: Any, low: Any, high: Any) -> Any:
    """Return x held to low..high (numbers, or one for each unit), with both comparisons in one."""
    beyond = xp.concatenate([x - low, high - x], axis=-1) < 0
    added = xp.where(beyond, xp.concatenate([low - x, high - x], axis=-1), 0)
    size = x.shape[-1]
    return x + added[..., :size] + added[..., size:]


def affine(xp: Any, outputs: Any, vectors: Any) -> Any:
    """Return the sums of matrix @ vector * 2 ** power, + bias, of several outputs side by side, as one product.

    Each of `outputs` is ([(matrix, power) for each of `vectors`], bias or None).
    """
    rows = [xp.concatenate([matrix << power for matrix, power in parts], axis=1) for parts, _ in outputs]
    total = xp.matmul(xp.concatenate(vectors, axis=-1), xp.concatenate(rows, axis=0).T)
    biases = [
        xp.zeros(len(own), xp.int64) if bias is None else xp.broadcast_to(bias, (len(own),))
        for own, (_, bias) in zip(rows, outputs)
    ]
    return total if all(bias is None for _, bias in outputs) else total + xp.concatenate(biases)


def products(xp: Any, rows: int, pairs: Any) -> Any:
    """Return left * right, (rows, size), for each (left, right, size) of `pairs`, as one product."""
    left = xp.concatenate([units(xp, pair[0], rows, pair[2]) for pair in pairs], axis=-1)
    right = xp.concatenate([units(xp, pair[1], rows, pair[2]) for pair in pairs], axis=-1)
    return split(left * right, [size for _, _, size in pairs])


def units(xp: Any, x: Any, rows: int, size: int) -> Any:
    """Return x as (rows, size), going round where it is smaller."""
    x = xp.broadcast_to(x, (rows, x.shape[-1]))
    return xp.tile(x, (1, size // x.shape[-1])) if x.shape[-1] != size else x


def split(x: Any, sizes: Any) -> Any:
    """Return the parts of x that lie side by side."""
    ends = [sum(sizes[: k + 1]) for k in range(len(sizes))]
    return [x[:, end - size : end] for end, size in zip(ends, sizes)]


def applied(xp: Any, x: Any, table: Any) -> Any:
    """Return the table's function of x.

    The segment of |x| is found by comparing it with every start; the coefficients are sums of their differences.
    """
    negative = x < 0
    magnitude = xp.where(negative, -x, x)
    passed = (magnitude[..., None] >= xp.asarray(table["starts"][1:])).astype(xp.int64)
    rows = xp.asarray([[start, *row] for start, row in zip(table["starts"], table["coefficients"])])
    found = xp.matmul(passed, rows[1:] - rows[:-1]) + rows[0]
    inside, value = magnitude - found[..., 0], found[..., -1]
    for k, shift in zip(range(len(table["shifts"]) - 1, -1, -1), table["shifts"]):
        own = found[..., k + 1]
        value = rounded(value * inside + (own << shift), shift) if k == 0 else rounded(value * inside, shift) + own
    value = xp.where(negative, table["mirror"] - value, value)
    return held(xp, value, *table["bounds"]) if table["bounds"] else value


def under(xp: Any, x: Any, shape: Any, kernel: Any, stride: Any, padding: Any) -> Any:
    """Return what lies under the kernel at each place: (kernel places, rows, channels, height, width)."""
    maps = xp.reshape(x, (x.shape[0], *shape))
    maps = xp.pad(maps, ((0, 0), (0, 0), (padding[0], padding[0]), (padding[1], padding[1])))
    high, wide = ((extent - own) // step for extent, own, step in zip(maps.shape[2:], kernel, stride))
    return xp.stack(
        [
            maps[:, :, row : row + high * stride[0] + 1 : stride[0], column : column + wide * stride[1] + 1 : stride[1]]
            for row in range(kernel[0])
            for column in range(kernel[1])
        ]
    )


def convolved(xp: Any, patches: Any, weights: Any, groups: int) -> Any:
    """Return the convolution's sums (rows, kernels, places) over `patches`, which `under` gives."""
    inner, rows, channels, high, wide = patches.shape
    per, kernels = channels // groups, weights.shape[0] // groups
    side = xp.transpose(xp.reshape(patches, (inner, rows, groups, per, high * wide)), (2, 1, 4, 3, 0))
    side = xp.reshape(side, (groups, rows * high * wide, per * inner))
    filters = xp.reshape(weights, (groups, kernels, per * inner))
    total = xp.stack([xp.matmul(side[k], filters[k].T) for k in range(groups)])
    total = xp.transpose(xp.reshape(total, (groups, rows, high * wide, kernels)), (1, 0, 3, 2))
    return xp.reshape(total, (rows, groups * kernels, high * wide))


def in_turn(first: int, end: int, body: Any, state: Any) -> Any:
    """Return body(end - 1, ... body(first, state)), as jax.lax.fori_loop does."""
    for k in range(first, end):
        state = body(k, state)
    return state
