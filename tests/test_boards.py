"""What is read of boards and of the emulator, and that a difference from this machine is seen."""

import json
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from arm64 import _apt_conf, _is_new, _stamp
from emulator import CORES, count_by_part, describe
from estimate import BOARDS, share
from pi import Board, read_board, read_condition, throttling
from report import (
    TOLERANCE,
    TOLERANCE_INT8,
    Comparison,
    Count,
    Heard,
    Report,
    compare,
    read_heard,
    read_report,
    render,
)

from kwspot.errors import KwspotError

HEARD = Heard(("alexa 5.04 5.64",), ("alexa 5.04 5.64",), (0.25, 0.5, 0.75))


def fake_pi(root: Path) -> Path:
    files = {
        "proc/device-tree/model": "Raspberry Pi Zero 2 W Rev 1.0\0",
        "etc/os-release": 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\n\n',
        "proc/meminfo": "MemTotal:         437084 kB\nMemFree:          100000 kB\n",
        "sys/class/thermal/thermal_zone0/temp": "48312\n",
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "ondemand\n",
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "600000\n",
        "sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq": "1000000\n",
        "sys/devices/platform/soc/soc:firmware/get_throttled": "50005\n",
    }
    for name, text in files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return root


def test_a_pi_is_described(tmp_path):
    board = read_board(fake_pi(tmp_path))
    assert board.model == "Raspberry Pi Zero 2 W Rev 1.0"
    assert board.system == "Debian GNU/Linux 12 (bookworm)"
    assert board.memory_mib == 426


def test_its_condition_is_told(tmp_path):
    condition = read_condition(fake_pi(tmp_path))
    assert condition.temperature == 48.312
    assert (condition.clock, condition.highest_clock) == (600, 1000)
    assert condition.governor == "ondemand"
    assert condition.throttling == (
        "under-voltage",
        "throttled",
        "under-voltage since start",
        "throttled since start",
    )


def test_what_a_board_does_not_tell_is_none(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert read_board(tmp_path) == Board(None, None, None, read_board(tmp_path).cores)
    assert set(asdict(read_condition(tmp_path)).values()) == {None}


@pytest.mark.parametrize(
    ("flags", "meaning"),
    [
        ("throttled=0x0", ()),
        ("0", ()),
        ("throttled=0x20002", ("clock capped", "clock capped since start")),
        ("80008", ("soft temperature limit", "soft temperature limit since start")),
    ],
)
def test_throttling_is_spelled_out(flags, meaning):
    assert throttling(flags) == meaning


def test_instructions_go_to_the_file_they_lie_in():
    maps = """
400000-916000 r-xp 00000000 fe:00 59 /arm64/usr/bin/python3.11
916000-92f000 ---p 00000000 00:00 0
5500000000-5500100000 r-xp 00000000 fe:00 1 /packages/numpy/_core/_multiarray_umath.cpython-311.so
5500100000-5500200000 r-xp 00000000 fe:00 1 /packages/numpy.libs/libscipy_openblas64_-d1.so
5500200000-5500300000 r-xp 00000000 fe:00 1 /packages/onnxruntime/capi/onnxruntime_pybind11_state.so
5500300000-5500400000 r-xp 00000000 fe:00 1 /arm64/usr/lib/aarch64-linux-gnu/libc.so.6
5500400000-5500500000 r-xp 00000000 fe:00 1 /packages/_webrtcvad.cpython-311-aarch64-linux-gnu.so
"""
    blocks = ["400000 5", "5500000010 7", "55001fffff 1", "5500200000 11", "5500300000 13", "1 17"]
    assert count_by_part([*blocks, "5500400000 2", "400010 1"], maps) == Counter(
        {
            "Python": 6,
            "numpy": 8,
            "ONNX Runtime": 11,
            "C library": 13,
            "voice detector": 2,
            "other": 17,
        }
    )


def test_every_board_has_a_core_that_is_emulated():
    assert {board.core for board in BOARDS} <= {core.name for core in CORES}
    for core in CORES:
        assert describe(core).count(f"CPU part\t: {core.part}") == 4


def test_a_share_is_instructions_by_clock_and_width():
    zero = BOARDS[0]
    estimate = share(zero, 10e6)
    assert estimate.best == pytest.approx(10e6 / 1e9)  # one instruction a cycle of two
    assert estimate.worst == pytest.approx(2 * estimate.best)


def test_equal_is_good_and_the_tolerance_is_the_models():
    comparison = compare("alexa.onnx", "cortex-a53", HEARD, HEARD)
    assert comparison.good
    assert (comparison.detections, comparison.gated, comparison.scores) == (1, 1, 3)
    assert comparison.tolerance == TOLERANCE
    assert compare("alexa-int8.tflite", "cortex-a53", HEARD, HEARD).tolerance == TOLERANCE_INT8


@pytest.mark.parametrize(
    "change",
    [
        {"scores": (0.25, 0.5, 0.75 + 2 * TOLERANCE)},
        {"scores": (0.25, 0.5)},
        {"without_gate": ()},
        {"with_gate": ("alexa 5.04 5.68",)},
    ],
)
def test_any_difference_is_bad(change):
    assert not compare("alexa.onnx", "cortex-a53", HEARD, replace(HEARD, **change)).good


def test_hearing_nothing_is_no_proof():
    silent = Heard((), (), ())
    assert not compare("alexa.onnx", "cortex-a53", silent, silent).good


def report(*comparisons: Comparison, counts: tuple[Count, ...] = ()) -> Report:
    return Report(
        host="PC, Linux x86_64",
        kwspot="0.1.0 at 0123456789ab",
        date="2026-01-01",
        emulator="qemu-aarch64 version 7.2",
        debian="bookworm, Python 3.11",
        packages={"numpy": "2.4.6"},
        recording="demo.flac",
        seconds=27.0,
        quiet_seconds=20,
        comparisons=comparisons,
        counts=counts,
        self_tests={"cortex-a53": 12},
    )


def test_a_report_is_good_if_something_was_compared_and_nothing_differs():
    good = compare("alexa.onnx", "cortex-a53", HEARD, HEARD)
    refused = Comparison("alexa.tflite", core="", refused="LiteRT is not installed")
    assert report(good, refused).good
    assert not report(refused).good
    assert not report().good
    assert not report(good, replace(good, same_detections=False)).good


def test_a_report_comes_back_from_its_json_and_the_page_says_what_is_estimated():
    counts = tuple(Count("alexa.onnx", core.name, "speech", {"Python": 12e6}) for core in CORES)
    refused = Comparison("alexa.tflite", core="", refused="LiteRT is not installed")
    whole = report(compare("alexa.onnx", "cortex-a53", HEARD, HEARD), refused, counts=counts)
    assert read_report(json.dumps(asdict(whole)), "boards.json") == whole
    page = render(whole)
    assert "| alexa.onnx | cortex-a53 | 1 / 1 | yes | 3 | 0.0e+00 | 1e-05 |" in page
    assert "not compared: LiteRT is not installed" in page
    assert "Estimated, not measured" in page
    assert "* self-tests passed on cortex-a53: 12, of all installed models" in page
    assert "| Raspberry Pi Zero 2 W | alexa.onnx | 1.20 to 2.40 |" in page
    assert "Estimated" not in render(report())


def test_the_published_page_is_that_of_its_json():
    results = Path(__file__).parent.parent / "benchmarks" / "results"
    published = read_report((results / "boards.json").read_text(), "boards.json")
    assert published.good
    assert render(published) == (results / "boards.md").read_text()


def test_no_output_is_refused_in_a_sentence():
    with pytest.raises(KwspotError, match="cortex-a53 is not JSON"):
        read_heard("", "cortex-a53")


def test_what_was_made_is_made_again_only_if_it_is_made_of_something_else(tmp_path):
    folder = tmp_path / "root"
    assert _is_new(folder, "bookworm")
    folder.mkdir()
    _stamp(folder, "bookworm")
    assert not _is_new(folder, "bookworm")
    assert folder.is_dir()
    assert _is_new(folder, "trixie")
    assert not folder.exists()


def test_apt_keeps_to_its_folder(tmp_path):
    lines = _apt_conf(tmp_path).splitlines()
    paths = [line.split('"')[1] for line in lines if line.startswith("Dir")]
    assert len(paths) == 5
    assert all(path.startswith(str(tmp_path)) for path in paths)
