"""Pictures of boxes, in their plain form, and as drawings with everything in them."""

from labkit.course import diagrams
from labkit.course.diagrams import Box

LEAVES = (Box("base", "1111"), Box("app", "2222", changed=True))


def test_the_plain_form_of_a_tree_shows_its_depth_and_what_has_changed(capsys):
    diagrams.tree("an image", Box("manifest", "3333", LEAVES, changed=True))

    assert capsys.readouterr().out.splitlines() == [
        "an image", "manifest 3333 (changed)", "  base 1111", "  app 2222 (changed)",
    ]  # fmt: skip


def test_a_tree_is_drawn_with_a_box_for_each_and_a_line_between_two():
    picture = diagrams._tree("an image", Box("manifest", "<3333>", LEAVES))

    assert picture.count('rx="6"') == 3
    assert picture.count("<line") == 2
    assert "&lt;3333&gt;" in picture
    assert "≠ 2222" in picture and "≠ 1111" not in picture


def test_no_box_of_a_tree_lies_over_another():
    deep = Box("top", "", (Box("left", "", LEAVES), Box("right", "", (*LEAVES, Box("third", "")))))
    picture = diagrams._tree("an image", deep)
    places = [part.split('"')[1::2][:4] for part in picture.split("<rect ")[2:]]
    boxes = [tuple(map(float, place)) for place in places]

    assert len(boxes) == 8
    for number, (x, y, wide, tall) in enumerate(boxes):
        for other_x, other_y, other_wide, other_tall in boxes[number + 1 :]:
            apart_across = x + wide <= other_x or other_x + other_wide <= x
            apart_down = y + tall <= other_y or other_y + other_tall <= y
            assert apart_across or apart_down
