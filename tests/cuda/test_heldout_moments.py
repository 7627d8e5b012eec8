"""The product whose result is summed up where it is made, against numpy.

Most tests count in small integers: every product and sum is then exact, in every precision and order, and one
element that is misplaced, left out or counted twice shows.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

Floats = NDArray[Any]

PRECISIONS = ["float64", "float32", "tf32", "bf16"]
OPTIONS = ["inner", "base", "rows", "along", "scale", "shift", "weights"]


def rounded(a: Floats, precision: str) -> NDArray[np.float64]:
    """``a`` as tensor cores read it: tf32 has 11 bits, ties go away from 0; bf16 has 8, ties go to even."""
    if precision not in ("tf32", "bf16"):
        return a.astype(np.float64)
    mantissa, exponent = np.frexp(a.astype(np.float64))
    scaled = mantissa * 2.0 ** (11 if precision == "tf32" else 8)
    whole = np.trunc(scaled + np.copysign(0.5, scaled)) if precision == "tf32" else np.rint(scaled)
    return np.ldexp(whole, exponent - (11 if precision == "tf32" else 8))


@dataclasses.dataclass
class Problem:
    factor: Floats
    residual: Floats
    y: Floats
    options: dict[str, Any]
    sign: float
    precision: str

    def parts(
        self,
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """q, y of the rows, weights, and the sum of the sizes of all that is added up to q, float64."""
        m, k = self.factor.shape
        take = {
            name: np.asarray(a, np.float64)
            for name, a in self.options.items()
            if name not in ("inner", "rows")
        }
        rows = self.options.get("rows", np.arange(m))
        left = rounded(self.factor, self.precision)
        right = rounded(self.residual[self.options.get("inner", np.arange(k))], self.precision)
        q, size = self.sign * (left @ right), np.abs(left) @ np.abs(right)
        if "base" in take:
            q, size = q + take["base"][rows], size + np.abs(take["base"][rows])
        if "along" in take:
            rank_one = np.outer(take["constant"], take["along"])
            q, size = q + rank_one, size + np.abs(rank_one)
        if "scale" in take:
            q, size = q * take["scale"][:, None], size * np.abs(take["scale"][:, None])
        if "shift" in take:
            q, size = q + take["shift"], size + np.abs(take["shift"])
        return q, self.y.astype(np.float64)[rows], take.get("weights", np.ones(m))[:, None], size

    def expected(self) -> NDArray[np.float64]:
        q, y, w, _ = self.parts()
        return np.stack([(w * q).sum(0), (w * q * q).sum(0), (w * q * y).sum(0)])

    def bound(self) -> NDArray[np.float64]:
        """What rounding may do: k + 8 roundings of every q, each of at most eps times what it adds up."""
        q, y, w, size = self.parts()
        eps = np.finfo(self.factor.dtype).eps
        error = (self.factor.shape[1] + 8) * eps * size
        sums = [w * error, w * (2 * np.abs(q) + error) * error, w * error * np.abs(y)]
        exact = [np.abs(w * q), np.abs(w * q * q), np.abs(w * q * y)]
        double = (q.shape[0] + 8) * np.finfo(np.float64).eps
        return np.stack([s.sum(0) + double * e.sum(0) for s, e in zip(sums, exact, strict=True)])


def make(
    rng: np.random.Generator, m: int, k: int, v: int, precision: str, options: list[str], whole: bool = True
) -> Problem:
    dtype = np.float64 if precision == "float64" else np.float32

    def numbers(*shape: int, top: int = 31) -> Floats:
        return (
            rng.integers(-top, top, shape, endpoint=True) if whole else rng.standard_normal(shape)
        ).astype(dtype)

    rows_of_y, rows_of_residual = (m + 5 if "rows" in options else m), (k + 7 if "inner" in options else k)
    found: dict[str, Any] = {
        "inner": rng.integers(0, rows_of_residual, k),  # out of order, with gaps and repeated
        "base": numbers(rows_of_y, v),
        "rows": rng.integers(0, rows_of_y, m),
        "constant": numbers(m),
        "along": numbers(v),
        "scale": 2.0 ** rng.integers(-1, 2, m) if whole else rng.uniform(0.5, 2, m),
        "shift": numbers(v),
        "weights": rng.integers(0, 3, m).astype(float) if whole else rng.uniform(0, 2, m),
    }
    wanted = [*options, "constant"] if "along" in options else options
    return Problem(
        numbers(m, k),
        numbers(rows_of_residual, v),
        numbers(rows_of_y, v, top=7),
        {name: found[name] for name in wanted},
        -1.0 if len(options) % 2 else 1.0,
        precision,
    )


class Bench:
    """Problems on the device, every array inside a larger one that is poisoned."""

    def __init__(self, cuda: Any, left: int = 0, right: int = 0) -> None:
        self.cuda, self.queue, self.left, self.right = cuda, cuda.Queue(), left, right

    def put(self, a: Floats) -> Any:
        sides = [(0, 0)] * (a.ndim - 1) + [(self.left, self.right)]
        poison = -(2**40) if a.dtype.kind == "i" else np.nan
        full = np.pad(a, sides, constant_values=poison)
        there = self.cuda.empty(full.shape, full.dtype)
        self.cuda.upload(full, there, self.queue)
        inside = slice(self.left, self.left + a.shape[-1])
        return there[inside] if a.ndim == 1 else there[:, inside]

    def get(self, a: Any) -> Floats:
        out = np.empty(a.shape, a.dtype)
        self.cuda.download(a, out, self.queue)
        return out

    def run(self, problem: Problem, start: Floats | None = None) -> Floats:
        m, v = problem.factor.shape[0], problem.y.shape[1]
        factor, residual, y = (self.put(a) for a in (problem.factor, problem.residual, problem.y))
        options = {name: self.put(a) for name, a in problem.options.items()}
        moments = self.put(np.zeros((3, v)) if start is None else start)
        scratch = self.put(np.full(self.cuda.heldout_scratch(m, v) // 8, np.nan))
        self.cuda.heldout_moments(
            factor,
            residual,
            y,
            moments,
            scratch,
            **options,
            sign=problem.sign,
            precision="float32" if problem.precision == "float64" else problem.precision,
            queue=self.queue,
        )
        result = self.get(moments)
        for name, a, there in [
            ("factor", problem.factor, factor),
            ("residual", problem.residual, residual),
            ("y", problem.y, y),
            *((name, a, options[name]) for name, a in problem.options.items()),
        ]:
            np.testing.assert_array_equal(self.get(there), a, err_msg=f"{name} was written")
        return result


# Every edge of a piece of k, of a pack, of a tile and of two tiles, in every dimension.
SIZES = [
    (1, 1, 1),
    (2, 7, 9),
    (7, 8, 2),
    (8, 9, 7),
    (9, 2, 8),
    (127, 1, 130),
    (1, 127, 128),
    (128, 128, 1),
    (129, 130, 127),
    (130, 129, 129),
    (2, 257, 257),
    (257, 16, 3),
]


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("shape", SIZES, ids=str)
def test_integers_come_out_exactly(
    shape: tuple[int, int, int], precision: str, cuda: Any, rng: np.random.Generator
) -> None:
    some = [name for name in OPTIONS if rng.random() < 0.5]
    problem = make(rng, *shape, precision, some)
    np.testing.assert_array_equal(Bench(cuda).run(problem), problem.expected())


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize(
    "options", [[], *([name] for name in OPTIONS), OPTIONS], ids=lambda o: "+".join(o) or "none"
)
def test_options(options: list[str], precision: str, cuda: Any, rng: np.random.Generator) -> None:
    problem = make(rng, 70, 19, 67, precision, options)
    np.testing.assert_array_equal(Bench(cuda).run(problem), problem.expected())


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("sides", [(1, 0), (0, 3), (4, 4), (3, 6)], ids=str)
def test_views_that_start_anywhere(
    sides: tuple[int, int], precision: str, cuda: Any, rng: np.random.Generator
) -> None:
    """Rows that start at a multiple of 16 bytes are loaded by packs, others element by element."""
    problem = make(rng, 20, 36, 132, precision, OPTIONS)
    np.testing.assert_array_equal(Bench(cuda, *sides).run(problem), problem.expected())


@pytest.mark.parametrize(
    ("shape", "precision"),
    [
        ((130, 3, 1153), "float32"),  # more tiles of targets than a band
        ((513, 9, 130), "float32"),  # the large tile begins at 513 rows
        ((640, 17, 257), "float32"),
        ((130, 3, 1153), "tf32"),
        ((8257, 1, 65), "float64"),  # blocks of several tiles of rows
        ((16641, 1, 2), "float32"),
        ((3, 600, 5), "bf16"),  # sums that leave the tensor cores twice
        ((3, 600, 5), "tf32"),
        ((66, 1030, 4), "float32"),
    ],
    ids=str,
)
def test_grids(shape: tuple[int, int, int], precision: str, cuda: Any, rng: np.random.Generator) -> None:
    problem = make(rng, *shape, precision, ["rows", "weights"])
    np.testing.assert_array_equal(Bench(cuda).run(problem), problem.expected())


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("shape", [(64, 8, 40), (150, 300, 5), (600, 33, 2)], ids=str)
def test_real_numbers(
    shape: tuple[int, int, int], precision: str, cuda: Any, rng: np.random.Generator
) -> None:
    problem = make(rng, *shape, precision, OPTIONS, whole=False)
    error = np.abs(Bench(cuda).run(problem) - problem.expected())
    assert (error <= problem.bound()).all()


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_inputs_are_rounded_to_nearest(precision: str, cuda: Any) -> None:
    """Ties go away from 0 in tf32, to the even neighbour in bf16; one factor is 1, so results are exact."""
    bits = 11 if precision == "tf32" else 8
    steps = np.array([0, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 1.75, 2.5, 3.5])
    values = (1 + steps * 2.0 ** (1 - bits)) * np.array([[1], [-1], [2.0**-20], [3.0 * 2**30]])
    values = values.astype(np.float32).reshape(1, -1)
    n = values.size
    one, eye = np.ones((1, 1), np.float32), np.eye(n, dtype=np.float32)
    y = np.zeros((1, n), np.float32)
    for problem in (Problem(one, values, y, {}, 1.0, precision), Problem(values, eye, y, {}, 1.0, precision)):
        found = Bench(cuda).run(problem)
        np.testing.assert_array_equal(found[0], rounded(values, precision)[0])
        assert np.count_nonzero(found[0] != values[0]) > n // 2


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("m", [40, 530])
def test_a_target_has_the_same_bits_in_any_tile(
    m: int, precision: str, cuda: Any, rng: np.random.Generator
) -> None:
    problem = make(rng, m, 21, 300, precision, ["base", "along", "shift", "weights"], whole=False)
    whole = Bench(cuda).run(problem)
    assert whole.tobytes() == Bench(cuda, 1, 2).run(problem).tobytes()
    for begin, end in [(0, 128), (128, 256), (256, 300), (128, 131)]:
        part = dataclasses.replace(
            problem,
            residual=problem.residual[:, begin:end],
            y=problem.y[:, begin:end],
            options={
                name: a[..., begin:end] if name in ("base", "along", "shift") else a
                for name, a in problem.options.items()
            },
        )
        assert Bench(cuda).run(part).tobytes() == whole[:, begin:end].tobytes()


@pytest.mark.parametrize("eager", ["0", "1"])
def test_moments_are_added_to(
    eager: str, cuda: Any, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether the queue runs at once or as late as it may."""
    monkeypatch.setenv("VOXRIDGE_EMULATED_EAGER", eager)
    problem = make(rng, 30, 12, 131, "float32", OPTIONS)
    start = rng.integers(-9, 9, (3, 131)).astype(float)
    np.testing.assert_array_equal(Bench(cuda).run(problem, start), start + problem.expected())


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("shape", [(5, 0, 130), (0, 4, 3), (4, 4, 0), (0, 0, 0)], ids=str)
def test_nothing(shape: tuple[int, int, int], precision: str, cuda: Any, rng: np.random.Generator) -> None:
    """Without k the product is 0; without rows or targets nothing is added."""
    problem = make(rng, *shape, precision, OPTIONS)
    start = np.ones((3, shape[2]))
    np.testing.assert_array_equal(Bench(cuda).run(problem, start), start + problem.expected())


def test_a_bad_target_spoils_no_other(cuda: Any, rng: np.random.Generator) -> None:
    problem = make(rng, 9, 9, 9, "float32", [])
    problem.residual[:, 4] = np.nan
    problem.y[:, 6] = np.inf
    found = Bench(cuda).run(problem)
    with np.errstate(invalid="ignore"):
        expected = problem.expected()
    good = [v for v in range(9) if v not in (4, 6)]
    np.testing.assert_array_equal(found[:, good], expected[:, good])
    assert np.isnan(found[:, 4]).all()


def test_scratch(cuda: Any, rng: np.random.Generator) -> None:
    """Bytes for the partial sums: more for more targets, and no more than 128 blocks of rows want."""
    assert cuda.heldout_scratch(0, 10) == cuda.heldout_scratch(10, 0) == 0
    assert cuda.heldout_scratch(64, 10) == 240
    assert cuda.heldout_scratch(65, 10) == 480
    assert cuda.heldout_scratch(10**6, 16384) == cuda.heldout_scratch(8192, 16384) == 128 * 3 * 16384 * 8
    with pytest.raises(ValueError, match="must not be negative"):
        cuda.heldout_scratch(-1, 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"residual": (3, 6)}, r"factor \(4, 5\) and residual \(3, 6\)"),
        ({"residual": (5, 7)}, r"residual \(5, 7\) do not give the columns of y \(4, 6\)"),
        ({"y": (3, 6)}, r"factor \(4, 5\) has more rows than y \(3, 6\)"),
        ({"moments": (2, 6)}, r"moments \(2, 6\), expected \(3, 6\)"),
        ({"base": (4, 5)}, r"base \(4, 5\), y \(4, 6\)"),
        ({"constant": (4,)}, "constant and along come together"),
        ({"along": (6,)}, "constant and along come together"),
        ({"along": (5,), "constant": (4,)}, r"along is float32 \(5,\), expected 6 elements"),
        ({"shift": (4,)}, r"shift is float32 \(4,\), expected 6 elements"),
        ({"scale": (4,)}, r"scale is float32 \(4,\), expected float64"),
        ({"weights": (3,)}, r"weights is float32 \(3,\), expected float64"),
        ({"rows": (4,)}, r"rows is float32 \(4,\), expected int64"),
        ({"inner": (5,)}, r"inner is float32 \(5,\), expected int64"),
        ({"scratch": (24,)}, "scratch is float32"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_errors_name_the_argument(change: dict[str, tuple[int, ...]], message: str, cuda: Any) -> None:
    shapes: dict[str, tuple[int, ...]] = {
        "factor": (4, 5),
        "residual": (5, 6),
        "y": (4, 6),
        "moments": (3, 6),
        "scratch": (18,),
    }
    doubles = {"moments", "scratch"} - ({"scratch"} & change.keys())
    arrays = {
        name: cuda.empty(shape, np.float64 if name in doubles else np.float32)
        for name, shape in (shapes | change).items()
    }
    with pytest.raises(ValueError, match=message):
        cuda.heldout_moments(**arrays, queue=cuda.Queue())


def test_other_errors(cuda: Any) -> None:
    queue = cuda.Queue()
    factor, residual, y = (cuda.empty((4, 4), np.float32) for _ in range(3))
    moments, scratch = cuda.empty((3, 4), np.float64), cuda.empty((12,), np.float64)
    small, wide = cuda.empty((11,), np.float64), cuda.empty((3, 8), np.float64)[:, :4]
    odd, bytes_ = cuda.empty((105,), np.uint8)[1:], cuda.empty((96,), np.uint8)
    whole = cuda.empty((4, 4), np.int64)
    with pytest.raises(ValueError, match=r"scratch is float64 \(11,\), expected 96 bytes"):
        cuda.heldout_moments(factor, residual, y, moments, small, queue=queue)
    with pytest.raises(ValueError, match="contiguous"):
        cuda.heldout_moments(factor, residual, y, moments, wide, queue=queue)
    with pytest.raises(ValueError, match="multiple of 8 bytes"):
        cuda.heldout_moments(factor, residual, y, moments, odd, queue=queue)
    with pytest.raises(ValueError, match="'float32', 'tf32' or 'bf16', not 'half'"):
        cuda.heldout_moments(factor, residual, y, moments, scratch, precision="half", queue=queue)
    with pytest.raises(ValueError, match="factor must be float32 or float64, not int64"):
        cuda.heldout_moments(whole, residual, y, moments, scratch, queue=queue)
    with pytest.raises(ValueError, match="residual is int64"):
        cuda.heldout_moments(factor, whole, y, moments, scratch, queue=queue)
    for a in (factor, residual, y, moments, bytes_):
        cuda.zero(a, queue)
    cuda.heldout_moments(factor, residual, y, moments, bytes_, queue=queue)  # bytes do as scratch
    found = np.ones((3, 4))
    cuda.download(moments, found, queue)
    np.testing.assert_array_equal(found, 0)
