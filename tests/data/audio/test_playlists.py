"""Files that only name other files are not recordings, whatever their suffix."""

import pytest

from selfwise.data.audio.decode import SUFFIXES
from selfwise.data.audio.open import open_recordings
from tests.data.audio.test_decode import m4a
from tests.helpers.audio_cases import write

HLS = "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n"
LISTS = {
    "ffconcat": "ffconcat version 1.0\nfile sound\n",
    "m3u8": f"{HLS}sound\n#EXT-X-ENDLIST\n",
    "m3u8 with an address": f"{HLS}http://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=audio 9 RTP/AVP 0\n",
    "mpd": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"></MPD>',
}


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    path = tmp_path_factory.mktemp("sound") / "sound.m4a"
    m4a(path, seconds=1.0)
    return path


@pytest.mark.parametrize("form", LISTS)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_list_of_other_files_is_not_a_recording(tmp_path, monkeypatch, sound, suffix, form):
    monkeypatch.setenv("SELFWISE_CACHE", str(tmp_path / "cache"))
    write(tmp_path / "data" / "good.wav", 1.0)
    (tmp_path / "data" / "sound").write_bytes(sound.read_bytes())
    (tmp_path / "data" / f"list{suffix}").write_text(LISTS[form])
    with pytest.raises(ValueError, match=rf"list\{suffix} \(.+\)"):
        open_recordings(tmp_path / "data", workers=0)
