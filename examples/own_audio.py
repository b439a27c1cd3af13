"""Hear «alexa» in audio that your program already has: chunks of any length, int16 at 16 kHz.

python examples/own_audio.py < recording.raw
"""

import sys

import numpy as np

from kwspot import KeywordDetector

detector = KeywordDetector("alexa", sensitivity="medium")
while data := sys.stdin.buffer.read(2 * 512):
    for hit in detector.process(np.frombuffer(data, np.int16)):
        print(f"{hit.keyword} ended at {hit.end:.2f} s, score {hit.score:.2f}")
