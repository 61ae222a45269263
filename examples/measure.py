"""How far apart do two recordings of the same notes sound?  python examples/measure.py ANSWER ESTIMATE"""

import sys

import timbrel
from timbrel.metrics import spectral

answer, estimate = (spectral.prepare(*timbrel.read_audio(path)) for path in sys.argv[1:3])
shorter = min(len(answer), len(estimate))
for name, value in spectral.evaluate(answer[:shorter], estimate[:shorter]).items():
    print(f"{name:14} {value:6.2f}")
