"""What a phrase's run was asked for, kept in its folder as settings.json."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from kwspot.records import read_record
from kwspot_export.effort import Effort
from kwspot_export.loop import TrainingError

FILE = "settings.json"


@dataclass(frozen=True)
class Settings:
    """The options of `kwspot train PHRASE`; paths are absolute.

    `spoken` is the folder of the synthetic voices; `begun_with` holds the weights of an earlier run
    to go on from, and is empty for a new one.
    """

    phrase: str
    say: str | None
    voices: tuple[str, ...]
    data: str
    exclude: tuple[str, ...]
    recordings: tuple[str, ...]
    effort: Effort
    encoder: str
    spoken: str
    begun_with: str = ""


def read_settings(folder: Path) -> Settings:
    """Read the settings of a run; raise TrainingError for a folder that holds none."""
    path = folder / FILE
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TrainingError(f"{folder} is no run of `kwspot train PHRASE`: {error}") from error
    return read_record(Settings, values, str(path), TrainingError)


def claim(folder: Path, settings: Settings) -> None:
    """Begin a folder, or see that it was begun alike; raise TrainingError where it was not."""
    path = folder / FILE
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(".partial")
        draft.write_text(json.dumps(asdict(settings), indent=1, ensure_ascii=False) + "\n", "utf-8")
        draft.rename(path)
        return
    begun, asked = asdict(read_settings(folder)), asdict(settings)
    for name, value in begun.items():
        if value != asked[name]:
            raise TrainingError(
                f"{folder} was begun with {name} {_shown(value)}, not {_shown(asked[name])}: "
                "choose another --run folder, or remove this one"
            )


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {item}" for key, item in value.items())
    if isinstance(value, tuple | list):
        return ", ".join(map(str, value)) or "none"
    return repr(value)
