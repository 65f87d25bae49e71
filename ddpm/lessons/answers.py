"""The answers to one lesson, and how a link says them: ``b.a.-.x``."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..errors import ConfigError

OPEN, SHOWN = "-", "x"
LETTERS = "abcd"


@dataclass(frozen=True)
class Answers:
    """For every card a letter of the choice, ``SHOWN`` where the visitor asked to be shown, ``OPEN`` before that."""

    cards: tuple[str, ...]

    @classmethod
    def none(cls, count: int) -> Answers:
        return cls((OPEN,) * count)

    @classmethod
    def read(cls, text: str, choices: tuple[int, ...]) -> Answers:
        """What a link says.

        Args:
            choices: how many each card of the lesson offers.

        Raises:
            ConfigError: there are more or fewer answers than cards, or one that its card does not offer.
        """
        said = text.split(".")
        if len(said) != len(choices):
            raise ConfigError(f"answers={text[:40]!r} must have {len(choices)} parts, one for each card, as in b.a.-.x")
        for number, (answer, count) in enumerate(zip(said, choices, strict=True), 1):
            offered = [*LETTERS[:count], SHOWN, OPEN]
            if answer not in offered:
                raise ConfigError(
                    f"answers: that of card {number} must be one of {', '.join(offered)}, got {answer[:20]!r}"
                )
        return cls(tuple(said))

    def __str__(self) -> str:
        return ".".join(self.cards)

    def __getitem__(self, index: int) -> str:
        return self.cards[index]

    def given(self, index: int, answer: str) -> Answers:
        """With one more answer."""
        return replace(self, cards=(*self.cards[:index], answer, *self.cards[index + 1 :]))

    @property
    def done(self) -> int:
        """How many cards have been answered or shown."""
        return sum(answer != OPEN for answer in self.cards)
