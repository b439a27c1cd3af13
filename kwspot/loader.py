"""From a name or a path to a model that runs.

```
name -> file in kwspot.models, or path -> OnnxModel | TfliteModel -> self-test, if asked for
```
"""

import importlib
import importlib.util
from pathlib import Path

from kwspot.errors import ModelError
from kwspot.model import LITERT, Model, OnnxModel

VOICE_NET = "voice-net.onnx"  # tells voices apart and hears no keyword (`kwspot.voice_net`)
# The encoder of verifiers (`kwspot.verifier_net`): another one has another number, for the heads of
# one know nothing of another.
VERIFIER_NET = "verifier-net-1.onnx"


def shipped_models() -> list[str]:
    """Return the names of the models that are installed with kwspot."""
    files = [f for f in models_folder().iterdir() if f.name not in (VOICE_NET, VERIFIER_NET)]
    return sorted({file.stem for file in files if file.suffix in (".onnx", ".tflite")})


def find_model(name: str | Path) -> Path:
    """Return the file of a model: a path as it is, or that of a model installed with kwspot.

    Of an installed model that is there in both formats, the .tflite file is chosen where LiteRT is
    installed: it starts faster, steps faster and takes less memory. Raises ModelError for a name
    that is neither a path nor installed.
    """
    path = Path(name)
    if path.suffix or path.parent != Path():
        return path
    shipped = shipped_models()
    if str(name) not in shipped:
        raise ModelError(
            f"no model is called {str(name)!r}: give a path to an .onnx or .tflite file, "
            f"or one of those installed ({', '.join(shipped)})"
        )
    onnx, tflite = (models_folder() / f"{name}{suffix}" for suffix in (".onnx", ".tflite"))
    light = any(map(importlib.util.find_spec, LITERT))
    return tflite if tflite.exists() and (light or not onnx.exists()) else onnx


def load_model(name: str | Path, *, check: bool = False) -> Model:
    """Load a model by path, or by the name of one that is installed with kwspot (`find_model`).

    LiteRT runs .tflite files, ONNX Runtime all others. With `check` the model must first pass the
    self-test in its file, a few milliseconds: kernels of some runtimes have been wrong on some
    boards. Raises ModelError for a file that cannot be used or fails the test.
    """
    path = find_model(name)
    if path.suffix == ".tflite":
        from kwspot.tflite_model import TfliteModel  # a start with ONNX Runtime need not wait

        model: Model = TfliteModel(path)
    else:
        model = OnnxModel(path)
    if check:
        from kwspot.selftest import require

        require(model)
    return model


def models_folder() -> Path:
    """Return the folder of what is installed with kwspot."""
    # Not importlib.resources, which costs 2 MB and 10 ms: installed packages are plain folders.
    return Path(importlib.import_module("kwspot.models").__path__[0])
