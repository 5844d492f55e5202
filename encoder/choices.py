"""Name the values of options that several modules share. Imports nothing, so that a command line can list them."""

from typing import Literal

LabelKind = Literal["single", "multi", "regression"]
LongTexts = Literal["truncate", "windows"]
Precision = Literal["auto", "float32", "bfloat16"]
