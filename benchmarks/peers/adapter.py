"""What the adapters of all engines share. Needs the standard library only, and little of it.

```
python ADAPTER.py cost PCM STARTED    prints what kwspot.bench.Cost holds
python ADAPTER.py scores PCM FILE     writes a float32 score for each hop of the audio
python ADAPTER.py describe            prints the hop, the default threshold, the model's bytes
```

An adapter defines `load(sweep) -> Heard` and calls `main(load)`. Scores are an engine's own after
its smoothing, and gates are off. `sweep` is set for scores: an engine that tells only whether it
fired runs once for each of its settings then.
"""

import sys
from array import array
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2] / "kwspot"))  # the stopwatch alone, not the package

from stopwatch import measure

SAMPLE_BYTES = 2
RATE = 16_000


class Heard:
    """A loaded engine. `hear` takes a hop of PCM and returns a score, None before the first.

    `hop` is in samples; `hops` make a call of about 80 ms, as kwspot's step, whose time is taken;
    `threshold` is the engine's default, `files` all that it reads as its model.
    """

    def __init__(
        self,
        hear: Callable[[bytes], float | None],
        *,
        hop: int,
        hops: int,
        threshold: float,
        files: Sequence[str | Path],
    ) -> None:
        self.hear, self.hop, self.hops = hear, hop, hops
        self.threshold, self.files = threshold, files


def main(load: Callable[[bool], Heard]) -> None:
    """Do what the command line asks for."""
    command, *arguments = sys.argv[1:]
    engine = load(command == "scores")
    if command == "cost":
        _cost(engine, *arguments)
    elif command == "scores":
        _scores(engine, *arguments)
    else:
        _describe(engine)


def _cost(engine: Heard, pcm: str, started: str) -> None:
    size = engine.hop * SAMPLE_BYTES

    def hear(block: bytes) -> float | None:
        score = None
        for start in range(0, len(block), size):
            score = engine.hear(block[start : start + size])
        return score

    def score(block: bytes) -> bool:
        return hear(block) is not None

    measure(score, hear, engine.hop * engine.hops / RATE, pcm=pcm, started=float(started))


def _scores(engine: Heard, pcm: str, output: str) -> None:
    scores, size = array("f"), engine.hop * SAMPLE_BYTES
    with open(pcm, "rb") as audio:
        while len(hop := audio.read(size)) == size:
            scores.append(engine.hear(hop) or 0.0)
    with open(output, "wb") as file:
        scores.tofile(file)


def _describe(engine: Heard) -> None:
    import json

    size = sum(Path(file).stat().st_size for file in engine.files)
    figures = {"hop": engine.hop, "threshold": engine.threshold, "model_bytes": size}
    print(json.dumps(figures))
