"""Letters of other alphabets in a-z, well enough to make a name of a directory's name."""

import unicodedata
from typing import Final

_LATIN: Final = "ss=ß ae=æ oe=œ o=ø d=đð th=þ l=ł h=ħ i=ı n=ŋ"
_CYRILLIC: Final = (
    "a=а b=б v=в g=гґ d=д e=еэ ye=є zh=ж z=з i=иі y=ы j=ј k=к l=л m=м n=н o=о p=п r=р s=с t=т u=у f=ф"
    " kh=х ts=ц ch=ч sh=ш shch=щ yu=ю ya=я dj=ђ lj=љ nj=њ c=ћ dz=џ"
)
_GREEK: Final = "a=α v=β g=γ d=δ e=ε z=ζ i=ηι th=θ k=κ l=λ m=μ n=ν x=ξ o=οω p=π r=ρ s=σς t=τ y=υ f=φ ch=χ ps=ψ"
_SPELLINGS: Final = " ".join((_LATIN, _CYRILLIC, _GREEK))
_TABLE: Final = {
    ord(letter): spelling
    for spelling, _, letters in (entry.partition("=") for entry in _SPELLINGS.split())
    for letter in letters
}


def transliterate(text: str) -> str:
    """Return `text` in lower-case ASCII: marks dropped, letters of known alphabets spelled, the rest left out."""
    folded = unicodedata.normalize("NFKD", text.lower()).translate(_TABLE)
    return folded.encode("ascii", "ignore").decode().lower()
