"""The lessons on their page: a card at a time, and what the visitor answered."""

from .card import show_card
from .overview import show_overview
from .place import Place, place_of_link
from .sheet import answer_sheets

__all__ = ["Place", "answer_sheets", "place_of_link", "show_card", "show_overview"]
