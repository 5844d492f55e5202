"""What Beam's --setup_file and users do: an sdist or a wheel, installed elsewhere, gives the packages with their data."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.conftest import random_texts

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def sdist(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("sdist")
    build = [sys.executable, "setup.py", "-q", "egg_info", "--egg-base", str(folder), "sdist", "-d", str(folder)]
    subprocess.run(build, cwd=REPOSITORY, check=True, capture_output=True)
    (path,) = folder.glob("*.tar.gz")
    return path


def pip(*arguments: str | Path) -> None:
    subprocess.run([sys.executable, "-m", "pip", *map(str, arguments)], check=True, capture_output=True)


def test_an_installed_sdist_gives_the_packages_with_encoder_and_heads(sdist, tmp_path):
    installed = tmp_path / "installed"
    pip("install", "-q", "--no-deps", "--no-build-isolation", "--target", installed, sdist)
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


@pytest.mark.slow
def test_an_installed_wheel_annotates_without_the_checkout(sdist, tmp_path):
    """Without the module site, nothing that points at the checkout, as an editable installation does, is on the path."""
    installed = tmp_path / "installed"
    pip("wheel", "-q", "--no-deps", "--no-build-isolation", "--wheel-dir", tmp_path, sdist)
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.name.endswith("-py3-none-any.whl")
    pip("install", "-q", "--no-deps", "--target", installed, wheel)
    libraries = dict.fromkeys(sysconfig.get_path(name) for name in ("purelib", "platlib"))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(installed), *libraries])}

    def run(*arguments: str) -> str:
        command = [sys.executable, "-S", *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    said = run(str(installed / "bin" / "encode-once"), "--version")
    assert said.splitlines()[0] == f"encode-once {wheel.name.split('-')[1]}"
    (tmp_path / "in.txt").write_text("\n".join(random_texts(30)))
    program = """
import sys
import encode_once
from pipelines.command_line import cli
code = cli.main(["annotate", "--input", "in.txt", "--store", "store", "--heads", "all", "--no_progress"])
names = ("encode_once", "encoder", "heads", "pipelines", "transforms")
print("files", *[module.__file__ for name, module in sys.modules.items() if name.partition(".")[0] in names])
sys.exit(code)
"""
    *report, files = run("-c", program).splitlines()
    assert any(line.split()[:2] == ["documents", "30"] for line in report)
    places = files.split()[1:]
    assert len(places) > 50
    assert all(place.startswith(str(installed)) for place in places)
    assert len(list((tmp_path / "store" / "labels").glob("task=*"))) == 8
