"""Encoder files: the weights of a distilled student and what they are, for fine-tuning."""

from dataclasses import asdict
from pathlib import Path

import torch

from kwspot.errors import KwspotError
from kwspot.features import FrontEnd
from kwspot.records import read_record
from kwspot_export.encoders import build_encoder
from kwspot_export.recipe import Student, Transformer
from kwspot_export.student import Encoder

KINDS = {"student": Student, "transformer": Transformer}


class EncoderFileError(KwspotError, ValueError):
    """An encoder file that is missing, damaged, or does not fit."""


SCRATCH = "scratch"


def begin_encoder(
    path: Path | None, size: Student | Transformer | None, front_end: FrontEnd
) -> tuple[Encoder, str]:
    """Return the encoder that training begins with, and its origin: a file's, or random weights.

    Raises EncoderFileError for neither file nor size, and for a file of another size.
    """
    if path is None:
        if size is None:
            raise EncoderFileError("give an --encoder, or a student in the recipe to begin anew")
        return build_encoder(front_end.mels, size), SCRATCH
    encoder, found, origin = load_encoder(path, front_end)
    if size is not None and size != found:
        raise EncoderFileError(f"{path} is a {found}, the recipe asks for a {size}")
    return encoder, origin


def save_encoder(
    path: Path, encoder: Encoder, size: Student | Transformer, front_end: FrontEnd, origin: str
) -> None:
    """Write an encoder; `origin` says in words where its weights come from."""
    state = {
        "kind": next(name for name, kind in KINDS.items() if isinstance(size, kind)),
        "size": asdict(size),
        "front_end": asdict(front_end),
        "origin": origin,
        "weights": {name: value.cpu() for name, value in encoder.state_dict().items()},
    }
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    partial.rename(path)


def load_encoder(path: Path, front_end: FrontEnd) -> tuple[Encoder, Student | Transformer, str]:
    """Read an encoder, its size and its origin.

    Raises EncoderFileError for a file that is missing or no encoder file, and for one that was
    made with another front end.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        size = read_record(KINDS[state["kind"]], state["size"], str(path), EncoderFileError)
        heard = read_record(FrontEnd, state["front_end"], str(path), EncoderFileError)
        encoder = build_encoder(heard.mels, size)
        encoder.load_state_dict(state["weights"])
        origin = str(state["origin"])
    except OSError as error:
        raise EncoderFileError(f"cannot read the encoder {path}: {error.strerror}") from error
    except EncoderFileError:
        raise
    except Exception as error:  # torch.load raises whatever a damaged file makes it stumble over
        reason = str(error).split("\n")[0]
        raise EncoderFileError(
            f"{path} is no encoder that `kwspot distill` made: {reason}"
        ) from error
    if heard != front_end:
        raise EncoderFileError(f"{path} hears through {heard}, the recipe asks for {front_end}")
    return encoder, size, origin
