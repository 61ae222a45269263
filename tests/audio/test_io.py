"""Reading, writing and resampling of recordings."""

import os
import struct
import subprocess
import wave

import imageio_ffmpeg
import numpy as np
import pytest
import soundfile
import torch

from timbrel.audio import decoders, io
from timbrel.errors import AudioError, InputError


def tone(channels=1, samples=22050, rate=44100):
    time = np.arange(samples) / rate
    return np.stack([0.4 * np.sin(2 * np.pi * 220 * (c + 1) * time) for c in range(channels)]).astype("f4")


def encode(source, target, *options):
    program = imageio_ffmpeg.get_ffmpeg_exe()
    subprocess.run([program, "-v", "error", "-i", source, *options, target], check=True)
    return target


@pytest.mark.parametrize(("suffix", "error"), [("wav", 3e-7), ("flac", 3e-7), ("ogg", 0.05), ("mp3", 0.05)])
@pytest.mark.parametrize("channels", [1, 2])
def test_what_is_written_is_read_back_to_the_sample(tmp_path, suffix, error, channels):
    waveform = tone(channels, 30001)
    io.write_audio(tmp_path / f"a.{suffix}", waveform, 44100)
    back, rate = io.read_audio(tmp_path / f"a.{suffix}")
    assert (rate, back.shape, back.dtype) == (44100, waveform.shape, np.float32)
    assert np.abs(back - waveform).max() < error
    assert os.listdir(tmp_path) == [f"a.{suffix}"]


@pytest.mark.parametrize("suffix", ["m4a", "aac", "webm", "opus", "wma", "mka"])
def test_formats_that_libsndfile_lacks_are_read_in_blocks(tmp_path, suffix):
    waveform = tone(2, 96000, 48000)
    io.write_audio(tmp_path / "a.wav", waveform, 48000)
    with io.open_audio(encode(tmp_path / "a.wav", tmp_path / f"b.{suffix}")) as reader:
        assert (reader.sample_rate, reader.channels) == (48000, 2)
        assert reader.frames is None or abs(reader.frames - 96000) < 4800
        blocks = list(reader.blocks(1000))
    assert {block.shape for block in blocks[:-1]} == {(2, 1000)}
    read = np.concatenate(blocks, axis=1)
    assert abs(read.shape[1] - 96000) < 3000
    level = np.sqrt(np.mean(read[:, 20000:60000] ** 2))
    assert abs(20 * np.log10(level / (0.4 / np.sqrt(2)))) < 0.5


@pytest.mark.parametrize("suffix", io.OUTPUT_SUFFIXES)
def test_small_blocks_are_the_whole(tmp_path, suffix):
    io.write_audio(tmp_path / f"a{suffix}", tone(2, 60001), 44100)
    with io.open_audio(tmp_path / f"a{suffix}") as reader:
        blocks = np.concatenate(list(reader.blocks(999)), axis=1)
    np.testing.assert_array_equal(blocks, soundfile.read(tmp_path / f"a{suffix}", dtype="float32")[0].T)


def test_an_unfinished_ffmpeg_reader_ends_its_process(tmp_path):
    io.write_audio(tmp_path / "a.wav", tone(samples=441000), 44100)
    with io.open_audio(encode(tmp_path / "a.wav", tmp_path / "a.m4a")) as reader:
        next(reader.blocks(10))
        process = reader._decoder._process
        assert process.poll() is None or process.returncode == 0
    assert process.returncode is not None


@pytest.mark.parametrize(
    ("rate", "channels", "samples", "subtype"),
    [
        (8000, 1, 8000, "PCM_U8"),
        (192000, 2, 19200, "PCM_24"),
        (44100, 8, 4410, "PCM_16"),
        (44100, 1, 882, "FLOAT"),
    ],
)
def test_unusual_recordings_are_read(tmp_path, rate, channels, samples, subtype):
    waveform = tone(channels, samples, rate)
    soundfile.write(tmp_path / "a.wav", waveform.T, rate, subtype=subtype)
    back, back_rate = io.read_audio(tmp_path / "a.wav")
    assert back_rate == rate
    assert back.shape == waveform.shape
    assert np.abs(back - waveform).max() < (0.01 if subtype == "PCM_U8" else 1e-4)


def test_reading_resamples_and_averages(tmp_path):
    stereo = np.concatenate([tone(1, 88200), -0.5 * tone(1, 88200)])
    io.write_audio(tmp_path / "a.wav", stereo, 44100)
    mono, rate = io.read_audio(tmp_path / "a.wav", sample_rate=22050, mono=True)
    assert (rate, mono.shape) == (22050, (1, 44100))
    assert np.abs(mono - 0.25 * tone(1, 44100, 22050))[:, 500:-500].max() < 1e-3


def test_silence_and_samples_beyond_full_scale(tmp_path):
    io.write_audio(tmp_path / "silence.wav", np.zeros((1, 1000), "f4"), 44100)
    assert not io.read_audio(tmp_path / "silence.wav")[0].any()
    for suffix in io.OUTPUT_SUFFIXES[:2]:
        io.write_audio(tmp_path / f"loud{suffix}", 5 * tone(), 44100)
        loud = io.read_audio(tmp_path / f"loud{suffix}")[0]
        assert 0.999 < loud.max() <= 1
        assert -1 <= loud.min() < -0.999  # clipped, not wrapped around
    soundfile.write(tmp_path / "float.wav", 3 * tone()[0], 44100, subtype="FLOAT")
    assert io.read_audio(tmp_path / "float.wav")[0].max() == pytest.approx(1.2, abs=0.01)


def unreadable(folder):
    good = folder / "good.flac"
    io.write_audio(good, tone(), 44100)
    nan = tone()
    nan[0, 4410] = np.nan
    soundfile.write(folder / "nan.wav", nan.T, 44100, subtype="FLOAT")
    soundfile.write(folder / "inf.wav", np.full(10, np.inf, "f4"), 44100, subtype="FLOAT")
    soundfile.write(folder / "none.wav", np.zeros((0, 1)), 44100)
    (folder / "empty.wav").touch()
    (folder / "folder.wav").mkdir()
    (folder / "text.mp3").write_text("these are not the samples you are looking for\n" * 50)
    (folder / "noise.raw").write_bytes(np.random.default_rng(0).bytes(20000))
    (folder / "list.m3u8").write_text(f"#EXTM3U\n#EXTINF:1,\n{good}\n")
    (folder / "cut.flac").write_bytes(good.read_bytes()[:60])
    encode(good, folder / "whole.m4a")
    (folder / "cut.m4a").write_bytes((folder / "whole.m4a").read_bytes()[:2000])


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("missing.wav", "does not exist"),
        ("folder.wav", "is a folder"),
        ("empty.wav", "0 bytes"),
        ("text.mp3", "no recording"),
        ("noise.raw", "no recording|no samples"),
        ("list.m3u8", "no recording"),
        ("cut.flac", "no recording|no samples"),
        ("cut.m4a", "no recording"),
        ("none.wav", "no recording|no samples"),
        ("nan.wav", r"NaN or infinite samples, the first at 0\.10 s"),
        ("inf.wav", r"NaN or infinite samples, the first at 0\.00 s"),
    ],
)
def test_what_cannot_be_read_is_said(tmp_path, name, said):
    unreadable(tmp_path)
    with pytest.raises(AudioError, match=said) as caught:
        io.read_audio(tmp_path / name)
    assert name in str(caught.value)


def playlists(folder):
    """Names of lists and scripts, each of which names the recording that is returned."""
    io.write_audio(folder / "secret.wav", tone(), 44100)
    encode(folder / "secret.wav", folder / "secret.ts")
    segments = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nsecret.ts\n"
    master = f"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n{folder}/ended.m3u8\n"
    files = {
        "ended.m3u8": f"{segments}#EXT-X-ENDLIST\n",
        "unfinished.m3u8": segments,
        "master.mp3": master,
        "list.m3u": f"{folder}/secret.wav\n",
        "script.wav": "ffconcat version 1.0\n" + "file secret.wav\n" * 1000,
        "script.ffconcat": f"ffconcat version 1.0\nfile {folder}/secret.wav\n",
        "song.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=audio 5004 RTP/AVP 0\n",
        "manifest.mpd": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period>'
        '<AdaptationSet mimeType="audio/mp4"><Representation id="0" bandwidth="1"><BaseURL>secret.ts</BaseURL>'
        "</Representation></AdaptationSet></Period></MPD>",
    }
    for name, text in files.items():
        (folder / name).write_text(text)
    return list(files)


def test_no_list_and_no_script_makes_another_file_be_read(tmp_path):
    for name in playlists(tmp_path):
        with pytest.raises(AudioError, match="no recording that can be read"):
            io.read_audio(tmp_path / name)
        with pytest.raises(AudioError, match="no recording that can be read"):
            decoders.to_mp3(tmp_path / name, tmp_path / "made.mp3")
        assert not (tmp_path / "made.mp3").exists()


@pytest.mark.parametrize("kind", ["flac", "m4a"])
def test_an_mp3_of_anything_and_an_mp3_as_it_is(tmp_path, kind):
    io.write_audio(tmp_path / "a.wav", tone(), 44100)
    source = encode(tmp_path / "a.wav", tmp_path / f"a.{kind}")
    (tmp_path / "made.mp3").write_bytes(b"ID3")  # of a conversion that was killed
    decoders.to_mp3(source, tmp_path / "made.mp3")
    assert soundfile.info(tmp_path / "made.mp3").format == "MP3"
    decoders.to_mp3(tmp_path / "made.mp3", tmp_path / "again.mp3")
    np.testing.assert_array_equal(io.read_audio(tmp_path / "again.mp3")[0], io.read_audio(tmp_path / "made.mp3")[0])


def patched(folder, place, number, layout):
    """A small wav with another number in its header."""
    path = folder / "patched.wav"
    soundfile.write(path, tone(samples=22050).T, 44100, subtype="FLOAT")
    data = bytearray(path.read_bytes())
    struct.pack_into(layout, data, place, number)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("rate", [1, 100, 2**31 - 1])
def test_a_rate_that_no_recording_has_is_refused(tmp_path, rate):
    with pytest.raises(AudioError, match=rf"sample rate is {rate} Hz; expected 1000 to 10000000"):
        io.open_audio(patched(tmp_path, 24, rate, "<I"))


def test_too_many_channels_are_refused(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros((10, 255)), 44100)
    with pytest.raises(AudioError, match="255 channels; expected at most 24"):
        io.open_audio(tmp_path / "a.wav")
    with pytest.raises(InputError, match="25 channels; expected at most 24"):
        io.as_waveform(np.zeros((25, 100)))


def test_a_huge_sample_is_no_sound(tmp_path):
    waveform = tone(samples=22050).T.copy()
    waveform[4410] = 1e18
    soundfile.write(tmp_path / "a.wav", waveform, 44100, subtype="FLOAT")
    with pytest.raises(AudioError, match=r"holds huge samples, the first at 0\.10 s"):
        io.read_audio(tmp_path / "a.wav")
    with pytest.raises(InputError, match="huge"):
        io.as_waveform(waveform.T)


def test_tensors_of_any_kind_are_waveforms(tmp_path):
    waveform = torch.full((2, 100), 0.5)
    for tensor in (waveform.bfloat16(), waveform.half(), waveform.double().requires_grad_()):
        io.write_audio(tmp_path / "a.wav", tensor, 44100, overwrite=True)
        np.testing.assert_allclose(io.read_audio(tmp_path / "a.wav")[0], 0.5, atol=1e-6)


@pytest.mark.parametrize("rate", [0, -1, 999, 2**40, 44100.0, "44100"])
def test_a_rate_out_of_range_is_said(tmp_path, rate):
    io.write_audio(tmp_path / "a.wav", tone(), 44100)
    with pytest.raises(InputError, match=r"expected a whole number of Hz, 1000 to 10000000, such as 44100"):
        io.read_audio(tmp_path / "a.wav", sample_rate=rate)


def sounds_until(path, **options):
    """Duration of a recording, and when its sound begins, in seconds."""
    with io.open_audio(path, **options) as reader:
        waveform = np.concatenate(list(reader.blocks(1000)), axis=1)
    return waveform.shape[1] / reader.sample_rate, np.argmax(np.abs(waveform[0]) > 0.05) / reader.sample_rate


@pytest.mark.parametrize("suffix", ["mp3", "ogg", "opus", "flac"])
def test_what_is_joined_is_read_to_its_end(tmp_path, suffix):
    io.write_audio(tmp_path / "a.wav", tone(2, 96000, 48000), 48000)
    once = encode(tmp_path / "a.wav", tmp_path / f"a.{suffix}").read_bytes()
    (tmp_path / f"twice.{suffix}").write_bytes(2 * once)
    assert sounds_until(tmp_path / f"a.{suffix}")[0] == pytest.approx(2, abs=0.001)
    with pytest.warns(UserWarning, match="more sound follows"):
        assert sounds_until(tmp_path / f"twice.{suffix}")[0] == pytest.approx(4, abs=0.1)


def test_a_header_that_says_less_than_there_is_is_not_believed(tmp_path):
    soundfile.write(tmp_path / "a.wav", tone(1, 176400).T, 44100)
    data = bytearray((tmp_path / "a.wav").read_bytes())
    struct.pack_into("<I", data, 40, 88200)  # as where 4 GB wrap, or a recorder was switched off
    (tmp_path / "less.wav").write_bytes(data)
    with pytest.warns(UserWarning, match=r"seems to end after 1\.00 s; more sound follows"):
        assert sounds_until(tmp_path / "less.wav")[0] == 4
    soundfile.write(tmp_path / "a.flac", tone(1, 176400).T, 44100)
    data = bytearray((tmp_path / "a.flac").read_bytes())
    number = int.from_bytes(data[18:26], "big")
    data[18:26] = (number >> 36 << 36 | 44100).to_bytes(8, "big")
    (tmp_path / "less.flac").write_bytes(data)
    with pytest.warns(UserWarning, match=r"seems to end after 1\.00 s"):
        assert sounds_until(tmp_path / "less.flac")[0] == 4


@pytest.mark.parametrize("suffix", ["mp3", "ogg", "flac"])
def test_a_file_that_is_far_larger_than_its_sound_is_said(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    io.write_audio(path, tone(), 44100)
    with path.open("ab") as file:
        file.write(100_000 * b"junk")
    with pytest.warns(UserWarning, match="much of the file"):
        assert sounds_until(path)[0] == 0.5


def test_wavs_that_are_joined_are_said(tmp_path):
    soundfile.write(tmp_path / "a.wav", tone(1, 44100).T, 44100)
    (tmp_path / "two.wav").write_bytes(2 * (tmp_path / "a.wav").read_bytes())
    with pytest.warns(UserWarning, match=r"two.wav: 88244 bytes follow .* they are not read"):
        assert sounds_until(tmp_path / "two.wav")[0] == 1


def test_a_byte_behind_a_wav_is_no_joined_file(tmp_path, recwarn):
    soundfile.write(tmp_path / "a.wav", tone(1, 44100).T, 44100)
    encode(tmp_path / "a.wav", tmp_path / "b.wav", "-c:a", "wmav2")  # which libsndfile cannot read
    with (tmp_path / "b.wav").open("ab") as file:
        file.write(b"\0")
    assert sounds_until(tmp_path / "b.wav")[0] == pytest.approx(1, abs=0.1)
    assert not recwarn


def test_tags_behind_the_sound_are_no_sound(tmp_path, recwarn):
    io.write_audio(tmp_path / "a.mp3", tone(1, 44100), 44100)
    with (tmp_path / "a.mp3").open("ab") as file:
        file.write(b"TAG" + bytes(125))
    soundfile.write(tmp_path / "a.wav", tone(1, 44100).T, 44100)
    with (tmp_path / "a.wav").open("ab") as file:
        file.write(struct.pack("<4sI", b"PICS", 500_000) + bytes(500_000))
    assert [sounds_until(tmp_path / name)[0] for name in ("a.mp3", "a.wav")] == [1, 1]
    assert not recwarn


def film(folder, name, *options):
    """A video of 4 s, with the sound that the options name."""
    program = imageio_ffmpeg.get_ffmpeg_exe()
    pictures = ["-f", "lavfi", "-i", "testsrc=s=64x48:r=10:d=4"]
    subprocess.run([program, "-v", "error", *pictures, *options, folder / name], check=True)
    return folder / name


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "webm", "mov", "ts"])
def test_sound_that_begins_late_in_a_video_stays_late(tmp_path, suffix):
    io.write_audio(tmp_path / "a.wav", tone(1, 88200), 44100)
    maps = ["-map", "0:v", "-map", "1:a"]
    late = film(tmp_path, f"late.{suffix}", "-itsoffset", "1.5", "-i", tmp_path / "a.wav", *maps)
    assert sounds_until(late)[1] == pytest.approx(1.5, abs=0.03)
    assert sounds_until(late)[0] == pytest.approx(3.5, abs=0.05)
    now = film(tmp_path, f"now.{suffix}", "-i", tmp_path / "a.wav", *maps)
    assert sounds_until(now)[1] == pytest.approx(0, abs=0.03)


def test_a_gap_in_time_stamps_is_silence(tmp_path):
    io.write_audio(tmp_path / "a.wav", tone(1, 176400), 44100)
    gap = encode(tmp_path / "a.wav", tmp_path / "gap.mkv", "-af", "aselect=not(between(t\\,1\\,3))", "-c:a", "libopus")
    waveform, rate = io.read_audio(gap)
    assert waveform.shape[1] / rate == pytest.approx(4, abs=0.05)
    assert np.abs(waveform[0, int(1.1 * rate) : int(2.9 * rate)]).max() < 1e-3
    assert np.abs(waveform[0, int(3.2 * rate) :]).max() > 0.3


def test_the_track_that_is_marked_or_named_is_read(tmp_path):
    io.write_audio(tmp_path / "a.wav", tone(1, 88200), 44100)
    io.write_audio(tmp_path / "b.wav", tone(2, 88200)[1:], 44100)
    inputs = ["-i", tmp_path / "a.wav", "-i", tmp_path / "b.wav", "-map", "0", "-map", "1", "-map", "2"]
    two = film(tmp_path, "two.mkv", *inputs, "-disposition:a:0", "0", "-disposition:a:1", "default")

    def hz(**options):
        with io.open_audio(two, **options) as reader:
            spectrum = np.abs(np.fft.rfft(next(reader.blocks(44100))[0]))
        return (int(spectrum.argmax()), reader.tracks, reader.track)

    assert hz() == (440, 2, 2)
    assert hz(track=1) == (220, 2, 1)
    with pytest.raises(AudioError, match="has 2 sound tracks; expected a track from 1 to that, not 3"):
        hz(track=3)
    with pytest.raises(AudioError, match="has 1 sound tracks"):
        io.open_audio(tmp_path / "a.wav", track=2)


@pytest.mark.parametrize("channels", [3, 5, 6, 7, 8])
def test_surround_keeps_its_places_in_any_format(tmp_path, channels):
    waveform = np.stack([0.1 * (c + 1) * tone(1, 48000, 48000)[0] for c in range(channels)])
    levels = []
    io.write_audio(tmp_path / "a.wav", waveform, 48000)
    for name in ("b.ogg", "b.flac"):
        io.write_audio(tmp_path / name, waveform, 48000)
        levels.append(io.read_audio(tmp_path / name)[0].std(axis=1))
    encode(tmp_path / "b.ogg", tmp_path / "c.flac")  # ffmpeg is another judge of what is where
    levels.append(io.read_audio(tmp_path / "c.flac")[0].std(axis=1))
    if channels in (6, 8):
        encode(tmp_path / "a.wav", tmp_path / "d.opus", "-b:a", "512k")
        levels.append(io.read_audio(tmp_path / "d.opus")[0].std(axis=1))
    for level in levels:
        louder = np.delete(level, 3) if channels in (6, 7, 8) else level  # the bass channel of a codec is dull
        assert (np.diff(louder) > 0).all()


@pytest.mark.parametrize(("channels", "mask"), [(1, None), (2, None), (3, 7), (6, 0x3F), (8, 0x63F)])
def test_a_surround_wav_names_its_channels(tmp_path, channels, mask):
    io.write_audio(tmp_path / "a.wav", tone(channels), 44100)
    data = (tmp_path / "a.wav").read_bytes()
    kind = struct.unpack_from("<H", data, 20)[0]
    assert (struct.unpack_from("<I", data, 40)[0] if kind == 0xFFFE else None) == mask
    assert io.read_audio(tmp_path / "a.wav")[0].shape == (channels, 22050)


@pytest.mark.parametrize(
    ("name", "layout", "mask"),
    [
        ("b.wav", "2.1", 0xB),
        ("b.m4a", "2.1", 0xB),
        ("b.mka", "quad(side)", 0x603),
        ("b.mka", "7.1(wide)", 0xFF),
    ],
)
def test_speakers_that_a_source_names_stay(tmp_path, name, layout, mask):
    channels = mask.bit_count()
    io.write_audio(tmp_path / "a.wav", np.tile(tone(1, 4800, 48000)[:1], (channels, 1)), 48000)
    codec = ["-c:a", "flac"] if name == "b.mka" else []
    named = encode(tmp_path / "a.wav", tmp_path / name, "-af", f"channelmap=channel_layout={layout}", *codec)
    with io.open_audio(named) as reader:
        metadata = reader.metadata()
    with io.AudioWriter(tmp_path / "c.wav", 48000, channels, metadata=metadata) as writer:
        writer.write(np.zeros((channels, 100), "f4"))
    assert struct.unpack_from("<I", (tmp_path / "c.wav").read_bytes(), 40)[0] == mask


@pytest.mark.parametrize(
    ("name", "subtype", "written"),
    [
        ("a.wav", "FLOAT", "FLOAT"),
        ("a.wav", "PCM_16", "PCM_16"),
        ("a.flac", "PCM_32", "PCM_24"),
        ("a.ogg", "FLOAT", "VORBIS"),
    ],
)
def test_samples_are_of_the_type_that_is_asked_for_if_the_format_has_it(tmp_path, name, subtype, written):
    with io.AudioWriter(tmp_path / name, 44100, 1, subtype=subtype) as writer:
        writer.write(3 * tone())
    assert writer.is_bounded == (written != "FLOAT")
    assert soundfile.info(tmp_path / name).subtype == written
    assert (io.read_audio(tmp_path / name)[0].max() > 1.1) == (written == "FLOAT")


def test_a_small_file_that_goes_on_for_hours_is_damaged(tmp_path, monkeypatch):
    io.write_audio(tmp_path / "a.flac", np.zeros((1, 441000), np.float32), 44100)
    monkeypatch.setattr(io, "_FREE_S", 0)
    monkeypatch.setattr(io, "_LEAST_BYTES_S", 10_000)
    with pytest.raises(AudioError, match="expected 10000 bytes a second at least"):
        io.read_audio(tmp_path / "a.flac")


def test_a_damaged_spot_costs_no_more_than_itself(tmp_path):
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (1, 220500)).astype(np.float32)
    io.write_audio(path := tmp_path / "x.flac", noise, 44100)
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 200] = bytes(200)
    path.write_bytes(data)
    heard, _ = io.read_audio(path)
    assert 0.95 * noise.shape[1] < heard.shape[1] < noise.shape[1]
    np.testing.assert_allclose(heard[:, :90000], noise[:, :90000], atol=1e-5)
    np.testing.assert_allclose(heard[:, -90000:], noise[:, -90000:], atol=1e-5)


def test_names_need_not_be_utf_8(tmp_path):
    path = tmp_path / os.fsdecode(b"caf\xe9.wav")
    io.write_audio(path, np.zeros((1, 100), np.float32), 8000)
    assert io.read_audio(path)[0].shape == (1, 100)


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3", "webm", "aac"])
def test_a_truncated_file_gives_what_there_is(tmp_path, suffix):
    source = tmp_path / "a.wav"
    io.write_audio(source, tone(1, 176400) + 0.01 * np.random.default_rng(0).normal(size=(1, 176400)), 44100)
    whole = source if suffix == "wav" else encode(source, tmp_path / f"a.{suffix}", "-ar", "48000")
    cut = tmp_path / f"cut.{suffix}"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    waveform, rate = io.read_audio(cut)
    assert 0.2 < waveform.shape[1] / rate / 4 < 0.6


def test_a_wav_from_a_pipe_is_read(tmp_path):
    io.write_audio(tmp_path / "a.wav", tone(), 44100)
    data = bytearray((tmp_path / "a.wav").read_bytes())
    data[40:44] = bytes(4)  # the size of the data, unknown to who wrote it
    (tmp_path / "pipe.wav").write_bytes(data)
    assert io.read_audio(tmp_path / "pipe.wav")[0].shape == (1, 22050)


@pytest.mark.parametrize(
    ("name", "kind", "said"),
    [
        ("out.m4a", InputError, r"'\.m4a'; expected one of \.wav, \.flac, \.ogg, \.mp3"),
        ("out", InputError, "suffix ''"),
        ("missing/out.wav", AudioError, "no folder"),
        ("file.wav/out.wav", AudioError, "no folder"),
        ("folder.wav", AudioError, "is a folder"),
        ("file.wav", InputError, "exists.*--overwrite"),
    ],
)
def test_an_output_that_cannot_be_written_is_said(tmp_path, name, kind, said):
    (tmp_path / "file.wav").write_text("mine")
    (tmp_path / "folder.wav").mkdir()
    with pytest.raises(kind, match=said):
        io.write_audio(tmp_path / name, tone(), 44100)
    assert (tmp_path / "file.wav").read_text() == "mine"


def test_an_unwritable_folder_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everywhere
    with pytest.raises(AudioError, match="read-only"):
        io.check_output(tmp_path / "a.wav")


def test_an_input_is_never_an_output(tmp_path):
    io.write_audio(tmp_path / "a.wav", tone(), 44100)
    (tmp_path / "link.wav").symlink_to(tmp_path / "a.wav")
    for name in ("a.wav", "link.wav"):
        with pytest.raises(InputError, match="never overwritten"):
            io.check_output(tmp_path / name, overwrite=True, inputs=[tmp_path / "b.wav", tmp_path / "a.wav"])
    assert io.check_output(tmp_path / "c.wav", inputs=[tmp_path / "a.wav"]) == tmp_path / "c.wav"


@pytest.mark.parametrize(
    ("name", "rate", "channels", "said"),
    [
        ("a.mp3", 96000, 2, r"96000 Hz.*mp3 has 8000.*48000.*\.wav"),
        ("a.mp3", 44100, 6, r"6 channels; mp3 takes 1 to 2.*\.flac or \.wav"),
        ("a.flac", 44100, 9, r"9 channels; flac takes 1 to 8: write a \.wav"),
        ("a.flac", 96001, 1, "96001 Hz"),
        ("a.ogg", 384000, 1, "384000 Hz"),
        ("a.wav", 0, 1, "0 Hz"),
    ],
)
def test_rates_and_channels_that_a_format_lacks(tmp_path, name, rate, channels, said):
    with pytest.raises(InputError, match=said):
        io.write_audio(tmp_path / name, tone(channels, 100), rate)
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("exception", [KeyboardInterrupt, ValueError])
def test_nothing_is_left_of_an_interrupted_file(tmp_path, exception):
    (tmp_path / "a.wav").write_text("old")

    def interrupted():
        with io.AudioWriter(tmp_path / "a.wav", 44100, 1, overwrite=True) as writer:
            writer.write(tone())
            assert len(os.listdir(tmp_path)) == 2
            raise exception

    with pytest.raises(exception):
        interrupted()
    assert os.listdir(tmp_path) == ["a.wav"]
    assert (tmp_path / "a.wav").read_text() == "old"


def test_a_recording_that_came_meanwhile_and_a_link_to_nothing_stay(tmp_path):
    writer = io.AudioWriter(tmp_path / "a.wav", 44100, 1).__enter__()
    writer.write(tone())
    (tmp_path / "a.wav").write_text("theirs")
    with pytest.raises(InputError, match="exists"):
        writer.__exit__(None, None, None)
    assert (tmp_path / "a.wav").read_text() == "theirs"
    (tmp_path / "b.wav").symlink_to(tmp_path / "nowhere")
    with pytest.raises(InputError, match="exists"):
        io.write_audio(tmp_path / "b.wav", tone(), 44100)
    assert sorted(os.listdir(tmp_path)) == ["a.wav", "b.wav"]


def test_a_written_file_replaces_an_old_one_and_has_plain_permissions(tmp_path):
    (tmp_path / "plain").touch()
    (tmp_path / "a.wav").write_text("old")
    io.write_audio(tmp_path / "a.wav", tone(), 44100, overwrite=True)
    assert (tmp_path / "a.wav").stat().st_mode == (tmp_path / "plain").stat().st_mode
    with wave.open(str(tmp_path / "a.wav")) as plain:  # the standard library's reader knows only the plain kind
        assert (plain.getsampwidth(), plain.getnframes()) == (3, 22050)


def test_wrong_waveforms_are_refused(tmp_path):
    bad = tone()
    bad[0, 5] = np.inf
    for waveform in (bad, tone()[0], np.zeros((1, 0), "f4")):
        with pytest.raises(InputError, match=r"infinite|shape"):
            io.write_audio(tmp_path / "a.wav", waveform, 44100)
    assert not os.listdir(tmp_path)


def test_a_wav_too_long_for_its_header_becomes_rf64(tmp_path, monkeypatch):
    monkeypatch.setattr(io, "_WAV_BYTES", 200_000)
    waveform = tone(1, 100_000)
    with io.AudioWriter(tmp_path / "a.wav", 44100, 1) as writer:
        for part in np.array_split(waveform, 7, axis=1):
            writer.write(part)
    assert (tmp_path / "a.wav").read_bytes()[:4] == b"RF64"
    assert np.abs(io.read_audio(tmp_path / "a.wav")[0] - waveform).max() < 3e-7
    assert os.listdir(tmp_path) == ["a.wav"]


def test_a_long_ogg_is_written_whole(tmp_path):
    waveform = np.zeros((2, 4_000_000), "f4")  # in one piece, libsndfile crashes
    io.write_audio(tmp_path / "a.ogg", waveform, 44100)
    assert soundfile.info(tmp_path / "a.ogg").frames == 4_000_000


@pytest.mark.parametrize("rates", [(44100, 48000), (48000, 44100), (192000, 44100), (44100, 22050), (8000, 8000)])
@pytest.mark.parametrize("samples", [0, 1, 3, 882, 4097, 50_001])
def test_resampling_gives_the_exact_length_in_blocks_and_at_once(rates, samples):
    from_rate, to_rate = rates
    waveform = tone(2, samples, from_rate)
    stream = io.StreamResampler(from_rate, to_rate, channels=2)
    parts = [stream.push(waveform[:, i : i + 700]) for i in range(0, samples, 700)]
    blocks = np.concatenate([*parts, stream.finish()], axis=1)
    assert blocks.shape == (2, round(samples * to_rate / from_rate))
    np.testing.assert_allclose(blocks, io.resample(waveform, *rates), atol=1e-6)
    middle = slice(blocks.shape[1] // 3, -(blocks.shape[1] // 3) or None)
    if samples == 50_001:
        expected = tone(2, blocks.shape[1], to_rate)
        assert np.abs(blocks - expected)[:, middle].max() < 1e-3


def test_values_out_of_range_are_refused(tmp_path):
    io.write_audio(tmp_path / "a.wav", tone(), 44100)
    with pytest.raises(InputError, match="sample rate is 0; expected a whole number of Hz"):
        io.read_audio(tmp_path / "a.wav", sample_rate=0)
    with (
        io.open_audio(tmp_path / "a.wav") as reader,
        pytest.raises(InputError, match="frames_per_block is 0"),
    ):
        next(reader.blocks(0))
