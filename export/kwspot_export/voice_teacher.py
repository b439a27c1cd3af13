"""Teachers of voices: nets in ONNX files that map an utterance to a speaker embedding.

WeSpeaker and 3D-Speaker publish theirs in this form: features (B, T, 80), Kaldi's filter banks less
their mean over the utterance, in; an embedding (B, E) out. `scripts/voice_teacher.py` makes such a
file of CAM++ (Wang et al. 2023, arXiv 2303.00332; Apache-2.0) out of a package.

Letters in shapes: N samples, T frames (10 ms), E width of an embedding.
"""

import math
from pathlib import Path

import onnxruntime
import torch

from kwspot.features import FloatArray, FrontEnd
from kwspot.voices import unit
from kwspot_export.frontend import LogMel
from kwspot_export.teachers import TeacherError, fingerprint

BANDS = 80
SILENCE = math.log(1.2e-7)  # Kaldi's floor: the least float32 of a mel energy
FRONT_END = FrontEnd(mels=BANDS, high_hz=8000.0, floor=SILENCE)


class VoiceTeacher:
    """A speaker embedding net, run by ONNX Runtime on one thread.

    Raises TeacherError for a file that cannot be loaded or takes other features.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise TeacherError(f"there is no teacher of voices {path}")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        try:
            self._session = onnxruntime.InferenceSession(
                path, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # ONNX Runtime raises classes of its own
            reason = str(error).split("\n")[0]
            raise TeacherError(f"{path} is no net that ONNX Runtime can load: {reason}") from error
        takes, gives = self._session.get_inputs(), self._session.get_outputs()
        if len(takes) != 1 or len(takes[0].shape) != 3 or takes[0].shape[2] != BANDS:
            raise TeacherError(
                f"{path} takes {[f'{i.name} {i.shape}' for i in takes]}: a teacher of voices takes "
                f"filter banks (batch, frames, {BANDS})"
            )
        self._input, self._output = takes[0].name, gives[0].name
        self._log_mel = LogMel(FRONT_END)
        self.name = path.stem
        self.fingerprint = fingerprint([path])

    def __call__(self, samples: FloatArray) -> FloatArray:
        """Return the embedding (E,), of length 1, of an utterance (N,)."""
        features = self._log_mel(torch.from_numpy(samples)[None])
        features = (features - features.mean(dim=1, keepdim=True)).numpy()
        (embedding,) = self._session.run([self._output], {self._input: features})
        return unit(embedding[0])
