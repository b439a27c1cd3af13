r"""How near each shipped model is to what this machine can do, and what takes the rest.

```
python benchmarks/roofline/run.py             measures; writes roofline.json and roofline.md
python benchmarks/roofline/run.py --render    writes roofline.md again
```

```
model file -> multiply-accumulates, bytes  \
this machine -> rates                       > the least time a step can take -> its share
detector -> time of a step, by part        /
```
"""

import argparse
import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

from ceiling import Report, Row, read_report, render
from rates import Measured
from work import read_work

from kwspot.bench import machine
from kwspot.errors import KwspotError
from kwspot.loader import shipped_models
from kwspot.records import read_record

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "roofline.json"
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def main() -> None:
    """Measure or render."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--output", type=Path, default=RESULTS, help="JSON; the page goes next")
    parser.add_argument("--render", action="store_true", help="only write the page again")
    args = parser.parse_args()
    try:
        if not args.render:
            args.output.write_text(json.dumps(asdict(measure()), indent=1) + "\n", encoding="utf-8")
        report = read_report(args.output.read_text(encoding="utf-8"), args.output.name)
        page = render(report)
        args.output.with_suffix(".md").write_text(page, encoding="utf-8")
    except (KwspotError, OSError) as error:
        sys.exit(f"{Path(__file__).name}: {error}")
    print(page, end="")


def measure() -> Report:
    """Measure every model in models/."""
    names = {f"{name}{ending}" for name in shipped_models() for ending in (".onnx", ".tflite")}
    models = sorted(path for path in (ROOT / "models").iterdir() if path.name in names)
    before = os.getloadavg()[0]
    rows = tuple(map(_measure, models))
    where = machine()
    return Report(
        host=f"{where.cpu}, {where.cores} cores, {where.system}",
        kwspot=f"{where.kwspot} at {where.commit}",
        numpy=where.numpy,
        onnxruntime=where.onnxruntime,
        date=where.date,
        load=(before, os.getloadavg()[0]),
        rows=rows,
    )


def _measure(model: Path) -> Row:
    try:
        work = read_work(model)
    except KwspotError as error:
        return Row(model.name, None, None, str(error))
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    size = work.weights + work.states
    done = subprocess.run(
        (sys.executable, HERE / "rates.py", model, str(size)),
        capture_output=True,
        text=True,
        env=os.environ | ONE_THREAD | {"PYTHONPATH": path},
    )
    if done.returncode:
        return Row(model.name, work, None, done.stderr.strip().splitlines()[-1])
    measured = read_record(Measured, json.loads(done.stdout), model.name, KwspotError)
    return Row(model.name, work, measured)


if __name__ == "__main__":
    main()
