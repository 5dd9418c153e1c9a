"""The paper's curve, as a reference beside one's own.

"Zero-Space Cost Fault Tolerance for Transformer-based Language Models on ReRAM", arXiv 2401.11664, Table 3: mean
accuracy over chips of BERT-base, in percent. The paper names neither the task nor the number of chips and gives no
point without faults; its "accuracy" falls below chance level of any balanced task, so it may be another metric.
"""

from __future__ import annotations

from typing import Any

RATES = (0.0001, 0.00025, 0.0005, 0.00075, 0.001, 0.00125, 0.0015, 0.00175, 0.002)
MEANS = {
    "paper, without voting": (90.68, 87.65, 77.96, 55.11, 37.68, 21.18, 12.44, 22.47, 27.40),
    "paper, with voting": (90.58, 90.26, 88.68, 86.0, 83.91, 80.13, 71.43, 63.02, 52.23),
}
#: As printed under "Accuracy Variance".
VARIANCES = {
    "paper, without voting": (0.36, 0.97, 14.35, 169.49, 286.78, 227.09, 178.24, 231.09, 269.88),
    "paper, with voting": (0.20, 0.50, 1.20, 2.33, 4.85, 10.23, 50.74, 93.22, 155.73),
}
SOURCE = "arXiv 2401.11664, Table 3: BERT-base, task not named"


def rows() -> list[dict[str, Any]]:
    """The curve as rows like those of one's own points: ``scheme``, ``rate``, ``mean``, ``sd``, ``source``."""
    return [
        {"scheme": name, "rate": rate, "mean": mean, "sd": variance**0.5, "source": SOURCE}
        for name, means in MEANS.items()
        for rate, mean, variance in zip(RATES, means, VARIANCES[name], strict=True)
    ]
