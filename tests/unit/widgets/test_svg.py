import base64
import re
from pathlib import Path
from xml.etree import ElementTree

from labkit.widgets import svg
from labkit.widgets.base import HERE

HOSTILE = '</text><script>alert(1)</script>\x1b\x00 & "quote" \''
SPACE = "{http://www.w3.org/2000/svg}"


def test_a_hostile_name_stays_a_text():
    drawing = svg.Drawing(HOSTILE)
    drawing.text(1, 2, HOSTILE, kind='f-ink" onload="alert(1)')

    document = ElementTree.fromstring(drawing.finish(20))

    assert {element.tag.removeprefix(SPACE) for element in document.iter()} == {
        "svg",
        "title",
        "style",
        "rect",
        "text",
    }
    assert document.find(f"{SPACE}text").attrib.keys() == {"x", "y", "class"}
    assert "<script>" in document.find(f"{SPACE}text").text


def test_the_picture_holds_both_grounds():
    picture = svg.Drawing("t").finish(20)

    assert "prefers-color-scheme:dark" in picture
    assert all(colour in picture for pair in (*svg.PALETTE, *svg.GROUND.values()) for colour in pair)


def test_a_text_is_shortened_to_its_room():
    drawing = svg.Drawing("t")
    drawing.text(0, 0, "x" * 100, "mono", room=100)

    (shown,) = re.findall(r"x+…x+", drawing.finish(20))
    assert len(shown) * svg.character_width("mono") <= 100


def test_an_image_carries_the_picture_and_its_words():
    image = svg.as_image("<svg/>", 'a "b" <c>')

    assert base64.b64decode(re.search(r"base64,([^\"]+)", image)[1]) == b"<svg/>"
    assert 'alt="a &quot;b&quot; &lt;c&gt;"' in image


def test_the_still_pictures_and_the_live_ones_have_the_same_hues():
    style = Path(HERE / "theme.css").read_text()
    found = re.findall(r"--lk-(\d): (#[0-9a-f]{6})", style)

    assert found == [(str(n), pair[dark]) for dark in (0, 1) for n, pair in enumerate(svg.PALETTE, 1)]


def contrast(one: str, other: str) -> float:
    """The contrast ratio of WCAG 2."""

    def light(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((light(one), light(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_every_hue_can_be_read_on_its_ground():
    for dark in (0, 1):
        paper = svg.GROUND["paper"][dark]
        for pair in (*svg.PALETTE, svg.GROUND["ink"], svg.GROUND["soft"], svg.GROUND["alarm"]):
            assert contrast(pair[dark], paper) >= 3.9, (pair[dark], paper)
