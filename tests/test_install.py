"""What Beam's --setup_file does: an sdist, installed elsewhere, gives the packages with their data."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]


def test_an_installed_sdist_gives_the_packages_with_encoder_and_heads(tmp_path):
    build = [sys.executable, "setup.py", "-q", "egg_info", "--egg-base", str(tmp_path), "sdist", "-d", str(tmp_path)]
    subprocess.run(build, cwd=REPOSITORY, check=True, capture_output=True)
    (sdist,) = tmp_path.glob("*.tar.gz")
    installed = tmp_path / "installed"
    install = ["install", "-q", "--no-deps", "--no-build-isolation", "--target", str(installed), str(sdist)]
    subprocess.run([sys.executable, "-m", "pip", *install], check=True, capture_output=True)
    program = """
import encode_once, encoder, heads, pipelines, transforms, transforms.encode, transforms.label, pipelines.annotate
for package in (encode_once, encoder, heads, pipelines, transforms):
    print(package.__name__, package.__file__)
print(encoder.describe("default").fingerprint, *heads.bundled())
for task in heads.bundled():
    heads.load(task).check_encoder(encoder.describe("default").fingerprint)
"""
    environment = os.environ | {"PYTHONPATH": str(installed)}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    *packages, bundled = done.stdout.splitlines()
    assert [line.split()[0] for line in packages] == ["encode_once", "encoder", "heads", "pipelines", "transforms"]
    assert all(str(installed) in line for line in packages)
    assert all((installed / line.split()[0] / "py.typed").is_file() for line in packages)
    tasks = bundled.split()[1:]
    expected = "emotion fine_sentiment news_topics offensive opinion_polarity question_type sentiment topic"
    assert tasks == expected.split()
