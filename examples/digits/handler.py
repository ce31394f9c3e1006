"""Classifies images of hand-written digits; each image's folder is its true label, so the hook can say how good the model is."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import smart_open
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.svm import SVC
from smart_open.s3 import iter_bucket


class Handler:
    def __init__(self, config: dict[str, Any], job_spec: dict[str, Any]) -> None:
        """Train on what make_images.py left out; that takes a fraction of a second."""
        digits = load_digits()
        pixels, _, labels, _ = train_test_split(digits.data, digits.target, test_size=0.2, random_state=0)
        self.model = SVC(gamma=0.001, C=10).fit(pixels, labels)
        results = config.get("results") or os.environ.get("DIGITS_RESULTS") or "/tmp/batchflow-digits"
        self.results = f"{results}/{job_spec['job_id']}"

    def handle_batch(self, payload: list[str], batch_id: str) -> None:
        """One file a batch, named by its id: a batch that is handled twice writes the same file twice."""
        predicted = self.model.predict(np.stack([read_pixels(path) for path in payload]))
        lines = [
            json.dumps({"path": path, "label": int(path.split("/")[-2]), "predicted": int(digit)})
            for path, digit in zip(payload, predicted, strict=True)
        ]
        write(f"{self.results}/batches/{batch_id}.jsonl", "\n".join(lines) + "\n")
        print(f"classified {len(lines)} images")

    def on_job_complete(self) -> None:
        """Every batch was handled: sum up."""
        found = [json.loads(line) for text in read_all(f"{self.results}/batches/") for line in text.splitlines()]
        if not found:
            raise FileNotFoundError(f"no results in {self.results}: workers that share no disk need an s3:// place for them")
        right = sum(one["label"] == one["predicted"] for one in found)
        accuracy = right / len(found)
        write(f"{self.results}/summary.json", json.dumps({"images": len(found), "right": right, "accuracy": accuracy}) + "\n")
        print(f"accuracy {accuracy:.3f} on {len(found)} images: {self.results}/summary.json")


# Every place is a local path, or s3://bucket/key: smart_open reads and writes both.


def read_pixels(path: str) -> np.ndarray[Any, Any]:
    """64 values of 0 to 16, as the model was trained on."""
    with smart_open.open(path, "rb") as file, Image.open(file) as image:
        return np.asarray(image, dtype=float).reshape(64) / 255 * 16


def write(path: str, text: str) -> None:
    if not path.startswith("s3://"):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    with smart_open.open(path, "w") as file:
        file.write(text)


def read_all(folder: str) -> Iterator[str]:
    """The texts of all files in a folder, in no order."""
    if folder.startswith("s3://"):
        bucket, _, prefix = folder.removeprefix("s3://").partition("/")
        return (content.decode() for _, content in iter_bucket(bucket, prefix=prefix))
    return (file.read_text() for file in Path(folder).glob("*"))
