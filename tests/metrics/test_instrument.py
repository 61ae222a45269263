import librosa
import numpy as np
import pytest
from sklearn.svm import SVC

from timbrel.errors import InputError, ModelError
from timbrel.metrics import instrument
from timbrel.metrics.instrument import InstrumentClassifier
from tools.train_instrument_classifier import save, train


@pytest.fixture(scope="module")
def examples():
    rng = np.random.default_rng(0)
    labels = np.array(["guitar", "harp", "piano", "violin"])[rng.integers(4, size=240)]
    centres = {label: rng.normal(size=59) for label in sorted(set(labels))}
    return np.stack([3 + 5 * (centres[label] + 1.5 * rng.normal(size=59)) for label in labels]), labels


def test_decision_is_scikit_learns(examples, tmp_path):
    x, y = examples
    classifier = train(x[:160], y[:160])
    standard = (x - x[:160].mean(0)) / x[:160].std(0)
    machine = SVC(C=10.0, gamma="scale", decision_function_shape="ovr").fit(standard[:160], y[:160])
    np.testing.assert_allclose(classifier.scores(x), machine.decision_function(standard), atol=1e-9)
    save(classifier, tmp_path / "judge.safetensors")
    frozen = InstrumentClassifier.load(tmp_path / "judge.safetensors")
    assert frozen.labels == ("guitar", "harp", "piano", "violin")
    np.testing.assert_allclose(frozen.scores(x), machine.decision_function(standard), atol=1e-4)
    predicted = np.array(frozen.labels)[frozen.scores(x).argmax(1)]
    assert (predicted == machine.predict(standard)).mean() > 0.99
    assert (predicted[160:] == y[160:]).mean() > 0.5


def test_features_are_those_of_the_definition():
    rng = np.random.default_rng(1)
    waveform = (rng.standard_normal(3 * 22050) * np.sin(np.arange(3 * 22050) / 3000)).astype(np.float32)
    power = librosa.feature.melspectrogram(y=waveform, sr=22050, n_fft=2048, hop_length=512, n_mels=128)
    m = librosa.feature.mfcc(S=librosa.power_to_db(power, ref=np.max), n_mfcc=20)[1:]
    envelope = librosa.onset.onset_strength(S=librosa.power_to_db(power, ref=np.max), sr=22050)[1:]
    got = instrument.features(waveform)
    assert got.shape == (59,)
    expected = [m.mean(1), m.std(1), np.abs(np.diff(m)).mean(1)]
    np.testing.assert_allclose(got[:57], np.concatenate(expected), atol=0.02)
    np.testing.assert_allclose(got[57], envelope[: -2 or None].std(), rtol=0.1)
    np.testing.assert_allclose(got[58], np.percentile(envelope, 95), rtol=0.1)


def test_pieces_cover_the_clip():
    clip = np.arange(8 * 22050, dtype=np.float32)
    cut = instrument.pieces(clip)
    assert cut.shape == (3, 3 * 22050)
    assert cut[0, 0] == clip[0]
    assert cut[-1, -1] == clip[-1]
    assert instrument.pieces(clip[:5000]).shape == (1, 3 * 22050)


def test_whole_and_pieces(examples):
    x, y = examples
    classifier = train(x, y)
    waveform = np.random.default_rng(2).standard_normal(8 * 22050).astype(np.float32)
    whole, parts = classifier.predict(waveform)
    assert whole in parts
    result = instrument.evaluate(classifier, whole, waveform)
    assert result == {"instrument_accuracy": parts.count(whole) / 3, "clip_is_instrument": 1.0}
    with pytest.raises(InputError, match="guitar, harp, piano, violin"):
        instrument.evaluate(classifier, "kazoo", waveform)


def test_a_file_that_is_no_classifier(tmp_path):
    with pytest.raises(ModelError, match="no instrument classifier"):
        InstrumentClassifier.load(tmp_path / "nothing.safetensors")
    (tmp_path / "junk.safetensors").write_bytes(b"junk")
    with pytest.raises(ModelError, match="no instrument classifier"):
        InstrumentClassifier.load(tmp_path / "junk.safetensors")
