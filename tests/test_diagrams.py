"""The redrawn schematic figures: small SVG files that stand alone and say what they show."""

import re
from xml.etree import ElementTree

import pytest

from gcnlab.report.diagrams import NUMBERS, diagram

WORDS = {1: "dense", 2: "deconv ×2", 4: "weights: 42 k (C + 21)", 5: "128 → 2048"}


@pytest.mark.parametrize("number", NUMBERS)
def test_a_diagram_is_small_described_and_alone(number):
    text = diagram(number)
    root = ElementTree.fromstring(text)
    assert root.get("role") == "img" and f"Fig. {number} redrawn" in root.get("aria-label")
    assert WORDS[number] in "\n".join(root.itertext()) and len(text) < 60_000
    assert not re.search(r"href|<script|url\(|<style| id=", text), "nothing from or for elsewhere"
    scale = float(root.get("width")) / float(root.get("viewBox").split()[2])
    sizes = [float(size) for size in re.findall(r'font-size="([\d.]+)"', text)]
    assert min(sizes) * scale >= 11, "CSS pixels"
