"""A recording on another instrument:  python examples/transfer.py [SOURCE INSTRUMENT|CLIP OUTPUT]"""

import sys
from pathlib import Path

import timbrel

PIANO = Path(__file__).with_name("piano.flac")
source, to, output = sys.argv[1:4] or (PIANO, "violin", "piano-violin.wav")

pipe = timbrel.load()  # the shipped default; a name or a folder loads another model
print("instruments by name:", ", ".join(pipe.instruments))

result = pipe(source, to=to, seed=0)
result.save(output, overwrite=True)
print(f"{output}: {result.waveform.shape[1] / result.sample_rate:.1f} s at {result.sample_rate} Hz")
