"""The least time a step can take, how near a model is to it, and the page that says so."""

import json
from dataclasses import dataclass

from rates import SIDE, Measured, Rates
from work import Work

from kwspot.errors import KwspotError
from kwspot.records import read_record


@dataclass(frozen=True)
class Row:
    """One model: the work of a step, and what was measured; `refused` says why nothing was."""

    model: str
    work: Work | None
    measured: Measured | None
    refused: str | None = None


@dataclass(frozen=True)
class Report:
    """All models. `load` is the machine's load average before and after."""

    host: str
    kwspot: str
    numpy: str
    onnxruntime: str | None
    date: str
    load: tuple[float, ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Limit:
    """The least seconds a step can take: arithmetic and memory each on its own, overlapping."""

    arithmetic: float
    memory: float

    @property
    def seconds(self) -> float:
        """The longer of the two."""
        return max(self.arithmetic, self.memory)


def limit(work: Work, rates: Rates) -> Limit:
    """Return the least time that `work` can take at these rates."""
    arithmetic = work.float_macs / rates.float_macs + work.int8_macs / rates.int8_macs
    return Limit(arithmetic, work.bytes / rates.cached_bytes)


def read_report(text: str, where: str) -> Report:
    """Read a report; raise KwspotError for anything else."""
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise KwspotError(f"{where} is not JSON ({error})") from error
    return read_record(Report, values, where, KwspotError)


def render(report: Report) -> str:
    """Write the page: work, limit and share; where the time goes; how it was measured."""
    work_head = ["model", "million multiply-accumulates", "weights, MB", "states, MB"]
    work_head += ["activations, MB", "arithmetic, us", "memory, us", "call, us"]
    work_head += ["share of the limit, %"]
    time_head = ["model", "all", "front end", "model's call, at the limit"]
    time_head += ["model's call, beyond it", "Python and the rest"]
    works, times = [], []
    for row in report.rows:
        if row.work is None or row.measured is None:
            works.append([row.model, f"not measured: {row.refused}", *[""] * (len(work_head) - 2)])
            continue
        works.append(_work_row(row.model, row.work, row.measured))
        times.append(_time_row(row.model, row.work, row.measured))
    lines = ["# Roofline", "", "Work a second of audio; the least time of a step, and its call's:"]
    lines += ["", *_table(work_head, works), "", "CPU, ms a second of audio:", ""]
    lines += [*_table(time_head, times), "", *(f"* {note}" for note in _notes(report)), ""]
    return "\n".join([*lines, "Made by `python benchmarks/roofline/run.py`."]) + "\n"


def _work_row(model: str, work: Work, measured: Measured) -> list[str]:
    steps = 1 / measured.times.step_seconds
    least = limit(work, measured.rates)
    sizes = (work.macs, work.weights, work.states, work.activations)
    seconds = (least.arithmetic, least.memory, measured.times.call)
    return [
        model,
        *(f"{steps * size / 1e6:.2f}" for size in sizes),
        *(f"{1e6 * value:.1f}" for value in seconds),
        f"{100 * least.seconds / measured.times.call:.0f}",
    ]


def _time_row(model: str, work: Work, measured: Measured) -> list[str]:
    times, least = measured.times, limit(work, measured.rates).seconds
    rest = times.whole - times.front_end - times.call
    parts = (times.whole, times.front_end, least, times.call - least, rest)
    return [model, *(f"{1e3 * part / times.step_seconds:.2f}" for part in parts)]


def _notes(report: Report) -> list[str]:
    notes = [
        f"{report.host}; load average {report.load[0]:.1f} before, {report.load[-1]:.1f} after",
        f"kwspot {report.kwspot}, numpy {report.numpy}, onnxruntime {report.onnxruntime}, "
        f"{report.date}; one thread, gate off",
        "every figure is CPU time, of the best of many short batches; steps follow each other at "
        "once, so that caches are warm",
        "work: every node reads its inputs and writes its outputs once, weights included",
    ]
    measured = [row.measured.rates for row in report.rows if row.measured]
    if measured:
        best = {
            name: max(getattr(rates, name) for rates in measured) / 1e9
            for name in ("float_macs", "int8_macs", "memory_bytes", "cached_bytes")
        }
        notes.append(
            f"limit: the longer of arithmetic, at the rate of ONNX Runtime's product of {SIDE} x "
            f"{SIDE} matrices ({best['float_macs']:.0f} billion multiply-accumulates a second in "
            f"float, {best['int8_macs']:.0f} with 8 bits), and memory, at the rate of copying a "
            f"block of the model's size ({best['cached_bytes']:.0f} GB/s; from main memory "
            f"{best['memory_bytes']:.0f} GB/s)"
        )
    return notes


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    return ["| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows)]
