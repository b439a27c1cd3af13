"""Serve wake words to Home Assistant and other programs by the Wyoming protocol.

Needs the extra wyoming: pip install 'kwspot[wyoming]'. The protocol has neither passwords nor
encryption: listen in networks that you trust.
"""

import argparse
import asyncio
import importlib.metadata
import logging
import signal
import sys
from typing import TYPE_CHECKING

from kwspot.commands.listen import (
    add_detector_arguments,
    add_voice_arguments,
    profiles_folder,
)
from kwspot.commands.numbers import count
from kwspot.detector import KeywordDetector
from kwspot.errors import KwspotError
from kwspot.loader import load_model
from kwspot.model import Model
from kwspot.words import word_by_word

if TYPE_CHECKING:
    from kwspot.wyoming_server import WyomingServer

HELP = "hear keywords for Home Assistant (Wyoming protocol)"
DEFAULT_URI = "tcp://0.0.0.0:10400"  # the port of wake words in Home Assistant


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `kwspot serve`."""
    parser.add_argument(
        "--model",
        action="append",
        required=True,
        help="model file, or name of an installed model; can be repeated",
    )
    parser.add_argument(
        "--uri",
        default=DEFAULT_URI,
        metavar="tcp://HOST:PORT|unix:///PATH",
        help="where to listen (default: %(default)s)",
    )
    parser.add_argument(
        "--max-clients", type=count, default=16, metavar="N", help="at once (default: 16)"
    )
    parser.add_argument(
        "--language",
        action="append",
        metavar="CODE",
        help="of the keywords, as clients are told; can be repeated (default: en)",
    )
    parser.add_argument(
        "--zeroconf",
        nargs="?",
        const="kwspot",
        metavar="NAME",
        help="let Home Assistant find the service; needs the extra zeroconf",
    )
    add_voice_arguments(parser)
    add_detector_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Serve until Ctrl-C or SIGTERM."""
    try:
        from kwspot.wyoming_server import WyomingServer
        from kwspot.wyoming_stream import Service
    except ImportError as error:
        raise KwspotError(
            f"`kwspot serve` needs the Wyoming package ({error}): pip install 'kwspot[wyoming]'"
        ) from error

    models = tuple(load_model(name) for name in args.model)
    labels = [keyword.label for model in models for keyword in model.info.keywords]
    thresholds = word_by_word(args.threshold, labels, None, "threshold")
    sensitivities = word_by_word(args.sensitivity, labels, "medium", "sensitivity")

    def make_detector(model: Model) -> KeywordDetector:
        own = [keyword.label for keyword in model.info.keywords]
        return KeywordDetector(
            model,
            threshold={word: t for word in own if (t := thresholds[word]) is not None},
            sensitivity={word: sensitivities[word] for word in own},
            vad=args.vad,
            refractory=args.refractory,
            profiles=profiles_folder(args.profiles),
            only=args.only,
            verify=args.verify,
        )

    for model in models:
        make_detector(model)  # what is wrong with the options is said now, not to the first client
    service = Service(
        models=models,
        make_detector=make_detector,
        version=importlib.metadata.version("kwspot"),
        languages=tuple(args.language or ["en"]),
        max_clients=args.max_clients,
    )
    logging.basicConfig(format="kwspot: %(message)s")
    server = WyomingServer(service, args.uri)
    asyncio.run(_serve(server, args.uri, ", ".join(service.names), args.zeroconf))
    return 0


async def _serve(server: "WyomingServer", uri: str, names: str, zeroconf: str | None) -> None:
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    await server.start()
    try:
        if zeroconf is not None:
            await _announce(zeroconf, server.port)
        where = uri if server.port == 0 else f"{uri.rpartition(':')[0]}:{server.port}"
        print(f"serving {names} at {where}; Ctrl-C ends", file=sys.stderr, flush=True)
        await ended.wait()
    finally:
        await server.stop()


async def _announce(name: str, port: int) -> None:
    """Publish the service in the local network, as Home Assistant looks for it."""
    if port == 0:
        raise KwspotError("--zeroconf announces a port: listen at tcp://HOST:PORT")
    try:
        from wyoming.zeroconf import HomeAssistantZeroconf
    except ImportError as error:
        raise KwspotError(
            f"--zeroconf needs a package more ({error}): pip install 'kwspot[zeroconf]'"
        ) from error
    await HomeAssistantZeroconf(port, name).register_server()
