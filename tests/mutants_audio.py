"""Bugs in recordings and their batches: (name, file, old, new, tests), for tests/mutants.py."""

DATA, CACHE = "tests/test_audio_data.py", "tests/test_audio_cache.py"
SOURCE = "tests/test_audio_source.py"

# fmt: off
# ruff: noqa: E501
MUTANTS = [
    # samples
    ("a crop begins between two samples at 16 kHz", "data/audio/decode.py",
     "first = max(0, start - margin) // out\n", "first = max(0, start - margin) // out + 0.5\n    first = int(first * out) / out\n", DATA),
    ("a crop has no margin", "data/audio/decode.py", "margin = int(MARGIN * RATE)", "margin = 0", DATA),
    ("the first channel alone is heard", "data/audio/decode.py",
     "sound[:, 0] if sound.shape[1] == 1 else sound.mean(axis=1)", "sound[:, 0]", DATA),
    ("a gap in an ogg is an error", "data/audio/decode.py",
     "if lacking and file.frames != shape.frames:", "if lacking:", DATA),
    ("a file that changed is filled up", "data/audio/decode.py",
     "if lacking and file.frames != shape.frames:", "if False:", CACHE),
    ("jumps into mp3 complain", "data/audio/decode.py",
     "if start and self.file.format == MP3:", "if False:", DATA),
    ("a jump into m4a is one block off", "data/audio/m4a.py",
     "at = self._position(frame) - origin", "at = self._position(frame) - origin + 1024", DATA),
    ("m4a is decoded from the very sample", "data/audio/m4a.py",
     "origin + start - int(PREROLL * self.rate)", "origin + start + 1024", DATA),
    ("the packages' lack is found out late", "data/audio/open.py",
     "    _need_av(listing)\n", "", DATA),
    # what is left out
    ("infinite samples are loud", "data/audio/decode.py",
     "if not np.isfinite(peak) and not np.isfinite(block).all():", "if np.isnan(peak):", DATA),
    ("399 samples are enough", "data/audio/scan.py",
     "if shape.samples < WINDOW:", "if shape.samples < WINDOW - 1:", DATA),
    ("silence is heard", "data/audio/scan.py", "        if silent:\n", "        if False:\n", DATA),
    ("errors of the disk are broken files", "data/audio/decode.py",
     "        if error.errno not in ABOUT_THE_FILE:\n            raise\n", "", DATA),
    ("a scan remembers what was broken", "data/audio/scan.py",
     "            lines[line[0]] = list(line)\n", "            pass\n", CACHE),
    ("a pattern that fits nothing is well", "data/audio/open.py",
     "if not hits.any(axis=0).all():", "if not hits.any():", DATA),
    ("labels stay with the rows of the table", "data/listing.py",
     "groups = None if self.groups is None else self.groups[rows]", "groups = self.groups", DATA),
    # the disk
    ("a killed scan starts anew", "data/audio/scan.py",
     "known = _lines(half) if half.is_file() else []", "known = []", CACHE),
    ("a killed cache starts anew", "data/audio/decoded_cache.py",
     '["done"] if journal.is_file() else 0', '["done"] * 0 if journal.is_file() else 0', CACHE),
    ("a cache that is too short is read", "data/audio/decoded_cache.py",
     "or path.stat().st_size != _bytes(int(starts[-1]))", "", CACHE),
    ("a memory map travels as numbers", "data/audio/dataset.py",
     'return {"path": self.path, "starts": self.starts}', 'return {"path": self.path, "starts": self.starts, "x": np.array(self.x)}', CACHE),
    # batches
    ("the edges forget the noise", "data/audio/batches.py",
     "np.sort(self.lengths) * (1 + NOISE)", "np.sort(self.lengths)", SOURCE),
    ("neighbours stay together", "data/audio/batches.py",
     "order = _sorted(self.lengths, NOISE * noise)", "order = _sorted(self.lengths, 0 * noise)", SOURCE),
    ("batches come from short to long", "data/audio/batches.py",
     'shuffled(self.steps_per_epoch, self.seed, "batches", epoch)', "np.arange(self.steps_per_epoch)", SOURCE),
    ("the last place of a crop is never taken", "data/audio/batches.py",
     "np.floor(where * (spare + 1))", "np.floor(where * spare)", SOURCE),
    ("long recordings are read once", "data/audio/batches.py",
     "np.maximum(recordings.samples // self.longest, 1)", "np.minimum(recordings.samples, 1)", SOURCE),
    ("parts of a recording lie anywhere", "data/audio/batches.py",
     "(self.place + place) / self.parts", "place", SOURCE),
    ("units of a crop are those of the beginning", "data/audio/batches.py",
     "self.units.read(int(i), int(first) // HOP, count)", "self.units.read(int(i), 0, count)", SOURCE),
    ("pieces lack their last frame", "data/audio/batches.py",
     "HOP * last + WINDOW - HOP", "HOP * last", SOURCE),
    ("every epoch is the first", "data/audio/batches.py",
     'hashed(self.seed, "crops", epoch)', 'hashed(self.seed, "crops")', SOURCE),
]
