import json

import numpy as np
from det import FILES, LEAST_MISSED, LEAST_RATE, RESULTS, draw, read_curves


def test_the_curves_are_those_of_the_result_files() -> None:
    words = [read_curves(RESULTS / name) for name in FILES]
    assert [word.keyword for word in words] == ["alexa", "computer", "jarvis"]
    drawing = draw(words)
    assert [axes.get_title() for axes in drawing.axes] == ["clean", "babble:10", "babble:5"]
    det = json.loads((RESULTS / FILES[1]).read_text())["result"]["det"]
    curve = drawing.axes[1].get_lines()[1]
    assert curve.get_label() == "computer"
    np.testing.assert_allclose(curve.get_xdata(), np.maximum(det["per_hour"], LEAST_RATE))
    missed = np.maximum(100 * np.array(det["missed"][1]), LEAST_MISSED)
    np.testing.assert_allclose(curve.get_ydata(), missed)
