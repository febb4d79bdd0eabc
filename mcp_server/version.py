"""The version of this distribution, without a look at the installed metadata."""

from typing import Final

VERSION: Final = "0.1.0"
