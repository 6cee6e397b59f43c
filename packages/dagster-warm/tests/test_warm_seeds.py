"""Generators that nobody has seeded differ between forked processes; seeded ones are as the import left them."""

import json
import subprocess
import sys

import pytest

FORKS = """
import gc, json, os, random, secrets
from dagster_warm import seeds

seeds.watch()
{imported}
before = {draw}
{rewind}
seeds.note_before_fork(gc.get_objects())

def fork():
    reader, writer = os.pipe()
    if os.fork() == 0:
        seeds.note_before_fork([])
        if os.fork() == 0:
            seeds.reseed()
            os.write(writer, json.dumps({draw}).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as answer:
        return json.load(answer)

print(json.dumps([before, fork(), fork()]))
"""


def draw(imported: str, number: str, rewind: str = "") -> list[float]:
    """Return a number drawn by the importing process and by two that are forked from its template."""
    script = FORKS.format(imported=imported, draw=number, rewind=rewind)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    numbers: list[float] = json.loads(done.stdout)
    return numbers


@pytest.mark.parametrize(
    ("imported", "number"),
    [
        ("random.seed(42)", "random.random()"),
        ("random.setstate(random.Random(1).getstate())", "random.random()"),
        ("dice = random.Random(7)", "dice.random()"),
        ("dice = random.Random()\ndice.seed(7)", "dice.random()"),
        ("import numpy\nnumpy.random.seed(42)", "numpy.random.rand()"),
        ("import numpy\nrng = numpy.random.default_rng(7)", "rng.random()"),
        ("import numpy\nrng = numpy.random.default_rng(2**127 + 1)", "rng.random()"),
        ("import numpy\nrng = numpy.random.RandomState(7)", "rng.rand()"),
        ("import numpy\nrng = numpy.random.Generator(numpy.random.Philox(7))", "rng.random()"),
    ],
)
def test_seeded_generators_go_on_as_they_were(imported: str, number: str) -> None:
    _, *forked = draw(imported, number, rewind=imported)
    expected = draw(imported, number)[0]
    assert forked == [expected, expected]


@pytest.mark.parametrize(
    ("imported", "number"),
    [
        ("", "random.random()"),
        ("random.seed(1)\nrandom.seed()", "random.random()"),
        ("dice = random.Random()", "dice.random()"),
        ("import numpy", "numpy.random.rand()"),
        ("import numpy\nrng = numpy.random.default_rng()", "rng.random()"),
        ("import numpy\nrng = numpy.random.default_rng()", "rng.spawn(1)[0].random()"),
        ("import numpy\nrng = numpy.random.RandomState()", "rng.rand()"),
        ("import numpy\nrng = numpy.random.Generator(numpy.random.SFC64())", "rng.random()"),
        ("random.seed(1)\nimport numpy\nrng = numpy.random.default_rng()", "rng.random()"),
    ],
)
def test_unseeded_generators_are_seeded_anew(imported: str, number: str) -> None:
    assert len(set(draw(imported, number))) == 3
