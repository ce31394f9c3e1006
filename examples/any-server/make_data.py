"""Writes data/: 360 readings of three sensors in three files, the last one compressed."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

FOLDER = Path(__file__).with_name("data")


def readings(sensor: int) -> bytes:
    lines = (json.dumps({"sensor": f"s{sensor}", "hour": hour, "value": (hour * 7 + sensor * 13) % 50}) for hour in range(120))
    return "".join(f"{line}\n" for line in lines).encode()


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / "sensor-1.jsonl").write_bytes(readings(1))
    (FOLDER / "sensor-2.jsonl").write_bytes(readings(2))
    (FOLDER / "sensor-3.jsonl.gz").write_bytes(gzip.compress(readings(3), mtime=0))


if __name__ == "__main__":
    main()
