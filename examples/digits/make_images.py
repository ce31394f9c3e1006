"""Writes images/<label>/<nnnn>.png, the images that this example classifies; run in an environment with requirements.txt.

They are the test part of scikit-learn's digits: `load_digits()`, split by `train_test_split(test_size=0.2, random_state=0)`, 360 images
of 8 x 8 grey pixels, scaled from 0..16 to 0..255. `nnnn` is the image's row in `load_digits()`. scikit-learn says of their origin: "This
is a copy of the test set of the UCI ML hand-written digits datasets". Licence CC BY 4.0; credit: E. Alpaydin, C. Kaynak, Optical
Recognition of Handwritten Digits, UCI Machine Learning Repository, 1998.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split


def main() -> None:
    digits = load_digits()
    _, test = train_test_split(np.arange(len(digits.target)), test_size=0.2, random_state=0)
    for row in sorted(test):
        pixels = np.rint(digits.images[row] / 16 * 255).astype(np.uint8)
        path = Path(__file__).with_name("images") / str(digits.target[row]) / f"{row:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path, optimize=True)


if __name__ == "__main__":
    main()
