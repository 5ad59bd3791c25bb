"""One target under libFuzzer, in a process of its own, which libFuzzer ends.

    python -m tests.fuzz.worker NAME FOLDER [libFuzzer's options]

What goes wrong is written down and does not end it: found.json says where, with the input beside
it, and how long the slowest input took (in time of the processor, for others may be busy).
"""

import hashlib
import json
import sys
import traceback
from pathlib import Path
from random import Random
from time import process_time

import atheris

with atheris.instrument_imports(include=["monitor"], exclude=["monitor.bench", "monitor.cli"]):
    from tests.fuzz.targets import TARGETS

HANG_SECONDS = 1.0


class Watched:
    """A target whose failures are kept, each place of failure once."""

    def __init__(self, name: str, folder: Path) -> None:
        self.target = TARGETS[name]()
        self._folder, self._failures, self._slowest_s = folder, dict[str, str](), 0.0
        self._hangs = 0
        self._write()

    def take(self, value: bytes) -> None:
        """Try an input."""
        started = process_time()
        try:
            self.target.take(value)
        except Exception as error:
            self._failed(error, value)
        took_s = process_time() - started
        if took_s > self._slowest_s:
            self._slowest_s = took_s
            self._hangs += took_s > HANG_SECONDS
            self._keep(value, "slowest")
            self._write()

    def mutate(self, value: bytes, max_size: int, seed: int) -> bytes:
        """Half by what libFuzzer does, half by what is known of the format."""
        random = Random(seed)
        if random.random() < 0.5:
            return bytes(atheris.Mutate(value, max_size))
        return self.target.mutated(random, value)[:max_size]

    def _failed(self, error: Exception, value: bytes) -> None:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(frame.filename).name}:{frame.lineno} {type(error).__name__}: {error}"[:200]
        place = f"{frame.filename}:{frame.lineno}:{type(error).__name__}"
        if place not in self._failures:
            self._failures[place] = where
            self._keep(value, "crash-" + hashlib.sha1(value).hexdigest()[:12])
            self._write()

    def _keep(self, value: bytes, name: str) -> None:
        (self._folder / name).write_bytes(value)

    def _write(self) -> None:
        found = {
            "failures": list(self._failures.values()),
            "hangs": self._hangs,
            "slowest_ms": self._slowest_s * 1000,
        }
        (self._folder / "found.json").write_text(json.dumps(found))


def main() -> None:
    """Fuzz until libFuzzer has had enough."""
    name, folder, *options = sys.argv[1:]
    watched = Watched(name, Path(folder))
    corpus = Path(folder) / "corpus"
    corpus.mkdir(exist_ok=True)
    for n, seed in enumerate(watched.target.seeds):
        (corpus / f"seed-{n}").write_bytes(seed)
    arguments = [sys.argv[0], str(corpus), f"-max_len={watched.target.longest}", *options]
    atheris.Setup(arguments, watched.take, custom_mutator=watched.mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
