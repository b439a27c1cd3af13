from pathlib import Path

import numpy as np
from tiny import INFO

from kwspot.confusables import Confusable, confusables
from kwspot.hearing import Heard
from kwspot.manifest import Clip
from kwspot.streams import Place


def test_the_best_score_of_each_short_text_is_found() -> None:
    texts = ["Amelia!", "dog bark", "", "amelia", "a sentence of five words"]
    scores = np.zeros(50)
    scores[[4, 9, 10, 25, 35, 45]] = 0.2, 0.75, 0.3, 0.9, 0.7, 0.8
    places = []
    for number, text in enumerate(texts):
        clip = Clip(Path(), f"{number}.wav", 0.4, text, "", "test", "")
        begin, end = (10 * n * INFO.output_samples for n in (number, number + 1))
        places.append(Place(clip, begin, end, (begin, end)))
    negatives = Heard("other sound", tuple(places), (), scores)
    # Output 9 ends with the first place and is its own, output 10 is that of the second.
    assert confusables(negatives, INFO, ["Amelia!", "amelia", "", "a sentence"]) == (
        Confusable("amelia", 2, 0.75, "0.wav", 2),
        Confusable("dog bark", 1, 0.3, "1.wav", 0),
    )
