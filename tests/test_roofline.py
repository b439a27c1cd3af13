"""Work is counted as by hand, and limits and pages follow from it; no timing is tested."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from ceiling import Report, Row, limit, read_report, render
from rates import Measured, Rates, Times
from tiny import CHANNELS, KERNEL
from work import Node, Tensor, Work, count_work, read_work

from kwspot.errors import KwspotError

RATES = Rates(float_macs=5e8, int8_macs=2e9, memory_bytes=1e9, cached_bytes=1e10)
WORK = Work(float_macs=1000, int8_macs=4000, weights=6000, states=1000, activations=3000)
TIMES = Times(step_seconds=0.08, whole=88e-6, front_end=20e-6, call=48e-6)


def test_the_work_of_a_model_is_that_counted_by_hand(tiny_path):
    work = read_work(tiny_path)
    first, second = 40 * 8 * CHANNELS, CHANNELS * KERNEL
    assert work.float_macs == 2 * first + 2 * second  # two outputs a step
    assert work.int8_macs == 0
    indices = 5 * 8 * 4  # what the graph's slices and reshapes read, at most
    assert 4 * (first + second) <= work.weights <= 4 * (first + second) + 4 * indices
    kept = 40 * 4 + CHANNELS * (KERNEL - 1)
    assert work.states == 4 * 2 * kept  # read and written


def test_weights_of_eight_bits_are_work_of_eight_bits():
    tensors = {
        "x": Tensor((1, 10), 4, "activation"),
        "w": Tensor((10, 5), 1, "weight"),
        "y": Tensor((1, 5), 4, "activation"),
    }
    work = count_work([Node(("x", "w"), ("y",), macs=50, weight="w")], tensors)
    assert work == Work(float_macs=0, int8_macs=50, weights=50, states=0, activations=60)
    assert (work.macs, work.bytes) == (50, 110)


def test_the_limit_is_the_longer_of_arithmetic_and_memory():
    least = limit(WORK, RATES)
    assert least.arithmetic == pytest.approx(4e-6)
    assert least.memory == pytest.approx(1e-6)
    assert least.seconds == least.arithmetic
    assert limit(replace(WORK, weights=60_000), RATES).seconds == pytest.approx(6.4e-6)


def test_a_report_comes_back_from_its_json_and_its_parts_add_up():
    refused = Row("alexa.tflite", None, None, "alexa.tflite needs LiteRT to be read")
    report = Report(
        host="PC",
        kwspot="0.1.0",
        numpy="2.4.6",
        onnxruntime="1.31.1",
        date="2026-01-01",
        load=(0.0, 1.0),
        rows=(Row("alexa.onnx", WORK, Measured(RATES, TIMES)), refused),
    )
    assert read_report(json.dumps(asdict(report)), "roofline.json") == report
    page = render(report)
    assert "| alexa.onnx | 1.10 | 0.25 | 0.05 | 0.55 | 0.25 |" in page
    assert "not measured: alexa.tflite needs LiteRT" in page


def test_the_published_page_is_that_of_its_json():
    results = Path(__file__).parent.parent / "benchmarks" / "results"
    published = read_report((results / "roofline.json").read_text(), "roofline.json")
    assert render(published) == (results / "roofline.md").read_text()


def test_what_is_no_report_is_refused_in_a_sentence():
    with pytest.raises(KwspotError, match="is not JSON"):
        read_report("", "roofline.json")
