"""Cosines as colours."""

from __future__ import annotations

from train_embedding.services.inspection.reports import heat_map


def test_colours_go_from_blue_over_white_to_red() -> None:
    picture = heat_map([[[1.0, 0.0], [-1.0, 0.5]]])
    assert picture.size == (300, 300)
    corners = [picture.getpixel(place) for place in ((0, 0), (299, 0), (0, 299), (299, 299))]
    assert corners[:3] == [(190, 30, 45), (250, 250, 250), (33, 80, 170)]
    assert corners[3] == (220, 140, 148)


def test_rounding_beyond_one_is_no_other_colour() -> None:
    assert heat_map([[[1.0000001]]]).getpixel((0, 0)) == (190, 30, 45)


def test_many_vectors_and_several_encoders() -> None:
    table = [[0.0] * 75] * 75
    assert heat_map([table, table]).size == (300 + 8 + 300, 300)
