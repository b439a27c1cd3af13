"""Show what a model file says of itself, and whether this machine computes it rightly.

With --check the exit status is 1 where the self-test in the file differs by too much.
"""

import argparse

from kwspot.errors import VoiceError
from kwspot.loader import VERIFIER_NET, load_model, shipped_models
from kwspot.model import Model
from kwspot.modelfile import SENSITIVITIES, dump_info
from kwspot.selftest import Verdict, judge
from kwspot.verifier import find_verifier
from kwspot.verifier_net import VerifierNet, installed_net
from kwspot.voice_net import VoiceNet, installed_voice_net
from kwspot.voices import voice_teller

HELP = "show what a model file says of itself"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `kwspot info`."""
    parser.add_argument(
        "model", nargs="?", help="model file or name; none lists the installed ones"
    )
    parser.add_argument("--json", action="store_true", help="print the metadata as JSON")
    parser.add_argument(
        "--check", action="store_true", help="run the self-test in the file, or in all installed"
    )


def run(args: argparse.Namespace) -> int:
    """Print the model's description, or the result of its self-test."""
    if args.check:
        return _check(args.model)
    if args.model is None:
        print("\n".join(shipped_models()))
        return 0
    model = load_model(args.model)
    info = model.info
    if args.json:
        print(dump_info(info, indent=1))
        return 0
    front_end, source = info.front_end, info.provenance
    step_ms = 1000 * info.step_samples / front_end.sample_rate
    field_s = info.receptive_field * front_end.hop / front_end.sample_rate
    print(f"{info.name}: {', '.join(keyword.label for keyword in info.keywords)}")
    print(f"  licence   {source.licence}")
    print(f"  data      {source.data}")
    print(f"  recipe    {source.recipe}")
    print(f"  versions  {', '.join(f'{k} {v}' for k, v in source.versions.items())}")
    print(
        f"  input     {front_end.mels} mel bands, steps of {step_ms:.0f} ms, hears {field_s:.2f} s"
    )
    print(
        f"  decision  mean of {info.decision.smoothing} outputs, {info.decision.refractory} s apart"
    )
    print(f"  voices    {_voices(model)}")
    verifier = find_verifier(model)
    if verifier is not None:
        print(
            f"  verifier  {verifier.path.name}: {verifier.info.net} hears again what scores "
            f"{verifier.info.candidate:g} or more; thresholds are those of verified scores"
        )
        info = verifier.verified(info)
    width = max(len(keyword.label) for keyword in info.keywords) + 1  # and a comma
    for keyword in info.keywords:
        for sensitivity in SENSITIVITIES:
            point, word = keyword.operating_points[sensitivity], f"{keyword.label},"
            print(
                f"  {word:<{width}} {sensitivity:<7} threshold {point.threshold:.3f}, "
                f"{point.false_alarms_per_hour:g} false alarms an hour on validation streams"
            )
    return 0


def _voices(model: Model) -> str:
    """Say how well voices are told apart at a model's detections, and by what."""
    try:
        teller = voice_teller(model)
    except VoiceError as error:
        return f"not told apart: {error}"
    point = teller.info.voice
    assert point is not None
    return (
        f"told apart by {teller.path.name}, {teller.info.embedding} numbers, threshold "
        f"{point.threshold:.3f}: accepts {point.false_accepts:.1%} of other people's "
        f"words and rejects {point.false_rejects:.1%} of the own, by {point.speakers} "
        "validation speakers; a convenience, no security"
    )


def _check(name: str | None) -> int:
    """Run the self-test of a model, or of all that is installed; return the exit status."""
    verdicts = []
    for one in [name] if name else shipped_models():
        model = load_model(one)
        find_verifier(model)  # raises where its file is damaged
        verdicts.append(_said(one, judge(model), model.runtime))
    if name is None:
        nets: list[VoiceNet | VerifierNet] = [installed_voice_net(), installed_net(VERIFIER_NET)]
        verdicts += [_said(net.info.name, net.judge(), net.runtime) for net in nets]
    return int(not all(verdicts))


def _said(name: str, verdict: Verdict, runtime: str) -> bool:
    """Print how a self-test went; return whether all is right."""
    said = "ok, differs" if verdict.right else "WRONG, differs"
    print(f"{name}: {said} by {verdict.difference:.2g} (allowed {verdict.allowed:g}), {runtime}")
    return verdict.right
