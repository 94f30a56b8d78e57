"""A word of the glossary."""

from __future__ import annotations

from dataclasses import dataclass

GLOROT = "Glorot & Bengio 2010, AISTATS 9:249"
POOLE = "Poole et al. 2016, arXiv:1606.05340"
SCHOENHOLZ = "Schoenholz et al. 2017, arXiv:1611.01232"
YANG = "Yang et al. 2022, arXiv:2203.03466"


@dataclass(frozen=True)
class Word:
    """A word and its meaning.

    Attributes:
        name: as a table or a paper writes it.
        meaning: in a sentence or two.
        aliases: other ways to write it.
        json: the number in JSON that it stands for; empty for none.
        see: names of further explanations.
        reference: source; empty for words of this project.
    """

    name: str
    meaning: str
    aliases: tuple[str, ...] = ()
    json: str = ""
    see: tuple[str, ...] = ()
    reference: str = ""

    @property
    def make(self) -> None:
        """A word has no parameters."""
