"""Every figure is legible and says what it is given; saved twice it is the same bytes."""

import csv
import io
import json
import string

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from seeing_words.core.errors import InputError
from seeing_words.measures.similarity import similarity_grid
from seeing_words.plots import (
    OKABE_ITO,
    SIGNS,
    _contrast,
    _ink,
    _small_print,
    _spread,
    _thumbnail,
    claims_figure,
    contact_sheet,
    csv_text,
    depth_curves,
    forest,
    heatmaps,
    learning_curves,
    perturbation_forest,
    read_figure,
    save_figure,
    score_matrix,
    shown_text,
    shows_stimuli,
    style,
)

RNG = np.random.default_rng(0)


def grid(n_vision=9, n_language=9, empty=1) -> xr.DataArray:
    values = RNG.normal(0.3, 0.2, (n_vision, n_language))
    values[:empty] = np.nan
    return xr.DataArray(values, dims=("vision_layer", "language_layer"))


def sheet(n=7, n_columns=5) -> Figure:
    words = "a red boat on the sea at dusk , two birds left of it and an umbrella below".split()
    return contact_sheet(
        [np.full((8, 8, 3), i, np.uint8) for i in range(n)],
        [" ".join(RNG.choice(words, 3 * i + 1)) for i in range(n)],
        n_columns=n_columns,
    )


def heat(n_panels=3, n_vision=9, n_language=9) -> Figure:
    titles = ["v2l", "l2v", "both ways", "untrained", "again"][:n_panels]
    measures = dict(zip(titles, ["linear predictivity (r)"] * 2 + ["debiased CKA"] * 3))
    return heatmaps({t: grid(n_vision, n_language) for t in titles}, labels=measures)


CONDITIONS = {
    "trained, mean": "trained",
    "trained, end token": "trained",
    "untrained": "untrained",
    "pixels": "trivial",
    "shuffled pairs": "shuffled",
}


def curves(*ends: float) -> pd.DataFrame:
    "Straight lines that end at `ends`: three rows of panels."
    table = pd.DataFrame(
        [
            {
                "panel": panel,
                "along": along,
                "condition": name,
                "kind": kind,
                "depth": depth,
                "score": end * depth,
            }
            for panel in ("V→L (r)", "L→V (r)", "debiased CKA")
            for along in ("vision", "language")
            for (name, kind), end in zip(CONDITIONS.items(), ends or (0.6, 0.58, 0.57, 0.2, 0.0))
            for depth in np.linspace(0, 1, 9)
        ]
    )
    around = {"low": -0.01, "high": 0.01, "pair_low": -0.05, "pair_high": 0.05}
    return table.assign(**{name: table["score"] + shift for name, shift in around.items()})


def conditions() -> pd.DataFrame:
    table = pd.DataFrame(
        {
            "condition": ["trained", "untrained", "bag of words", "shuffled pairs"],
            "kind": ["trained", "untrained", "trivial", "shuffled"],
            "effect": [0.6, 0.2, -0.3, 0.0],
        }
    )
    table = table.assign(low=table["effect"] - 0.05, high=table["effect"] + 0.05)
    return pd.concat([table.assign(group=group) for group in ("v2l", "l2v")], ignore_index=True)


def claims() -> pd.DataFrame:
    long = (
        "language to vision works from early language layers into late vision layers, but the "
        "other way it does not " * 2
    )
    table = pd.DataFrame(
        [
            ("L1", "short", 0.4, 0.39, 0.41, "> 0", "supported"),
            ("L2", long, 0.3, 0.2, 0.45, "< 0.4", "not supported"),
            ("L3", long[:90], -0.1, -0.2, -0.05, "> 0", "contradicted"),
            ("L4", "of no width", 0.0, 0.0, 0.0, "> 0", "not supported"),
            ("L6", "hardly any", 0.98, 0.95, 1.02, "1 ± 0.1", "supported"),
            ("L5", "without a number", np.nan, np.nan, np.nan, "> 0", "not supported"),
        ],
        columns=["claim", "text", "effect", "low", "high", "threshold", "verdict"],
    )
    return table.assign(
        p=[0.0001, 0.02, 1, 0.04, 1, np.nan], p_holm=[0.0006, 0.1, 1, 0.2, 1, np.nan]
    )


def logged() -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"panel": panel, "curve": curve, "step": step, "value": 1 / (1 + step)}
            for panel in ("loss (nats a word)", "retrieval")
            for curve in ("training", "unseen scenes")
            for step in range(0, 1000, 100)
        ]
    )


FIGURES = {
    "sheet": sheet,
    "sheet, 4 columns": lambda: sheet(9, 4),
    "one image": lambda: sheet(1),
    **{f"heat maps, {n}": lambda n=n: heat(n) for n in (1, 2, 3, 4, 5)},
    "heat maps, deep": lambda: heat(3, 25, 31),
    "depth": lambda: depth_curves(curves()),
    "depth, all in one place": lambda: depth_curves(curves(0.5, 0.5, 0.5, 0.5, 0.5)),
    "forest": lambda: forest(conditions(), label="r", reference=0),
    "forest, no groups": lambda: forest(
        conditions().drop(columns=["group", "kind"])[:3], label="r"
    ),
    "claims": lambda: claims_figure(claims()),
    "one claim": lambda: claims_figure(claims()[:1]),
    "learning": lambda: learning_curves(logged()),
}


def shown(fig: Figure) -> list[Text]:
    """The texts that a reader sees: not the labels of ticks beyond the axis' ends, which are never
    drawn."""
    fig.draw_without_rendering()
    axes = [
        (axis, sorted(axis.get_view_interval())) for ax in fig.axes for axis in (ax.xaxis, ax.yaxis)
    ]
    beyond = {
        id(label)
        for axis, (low, high) in axes
        for tick in axis.get_major_ticks() + axis.get_minor_ticks()
        for label in (tick.label1, tick.label2)
        if not low - 1e-9 <= tick.get_loc() <= high + 1e-9
    }
    return [
        t
        for t in fig.findobj(Text)
        if t.get_visible() and t.get_text().strip() and id(t) not in beyond
    ]


def saved(fig: Figure, folder, **about):
    about = {
        "data": conditions(),
        "caption": "Conditions, n = 20, 95 % intervals.",
        "alt": "Dots.",
    } | about
    return save_figure(fig, folder / "figure", **about)


@pytest.mark.parametrize("name", FIGURES)
def test_no_text_overlaps_or_leaves_the_page_and_none_is_small(name):
    fig = FIGURES[name]()
    _small_print(
        fig, "preset microworld · vision-0,1,2, llama-0,1 · n = 1000, 5 folds · seed 0 · " * 2
    )
    texts = [
        (t, Text.get_window_extent(t)) for t in shown(fig)
    ]  # of the letters, without an annotation's arrow
    page = fig.bbox.padded(1)
    for i, (text, box) in enumerate(texts):
        assert text.get_fontsize() >= 7, text
        assert page.contains(box.x0, box.y0), text
        assert page.contains(box.x1, box.y1), text
        for other, taken in texts[:i]:
            assert not box.padded(-1).overlaps(taken.padded(-1)), (
                f"{text.get_text()!r} lies on {other.get_text()!r}"
            )


@pytest.mark.parametrize("name", FIGURES)
def test_figures_fit_a_page_and_are_not_kept_by_pyplot(name):
    assert FIGURES[name]().get_size_inches()[0] <= 7.0 + 1e-9
    assert not plt.get_fignums()


def test_style_leaves_matplotlib_as_it_was():
    before = dict(mpl.rcParams)
    with style():
        assert mpl.rcParams["savefig.dpi"] == 150
    assert dict(mpl.rcParams) == before


def test_colours_of_letters_are_readable_and_curves_differ_in_grey():
    assert all(
        _contrast(_ink(colour)) >= 4.5 for colour in (*OKABE_ITO, *(c for _, c in SIGNS.values()))
    )
    looks = [
        (line.get_marker(), str(line.get_linestyle()), line.get_markerfacecolor() == "white")
        for line in depth_curves(curves()).axes[0].lines
        if line.get_linestyle() != "None"
    ]
    assert len(set(looks)) == len(looks)


heights = st.lists(st.tuples(st.floats(0, 1), st.floats(0.01, 0.2)), min_size=1, max_size=8)


@given(heights)
def test_names_are_spread_apart_in_order_and_within_the_room(names):
    wanted, height = map(np.array, zip(*names))
    places = _spread(wanted, height, 0, 4)
    order = np.argsort(wanted, kind="stable")
    assert (np.diff(places[order]) >= (height[order][1:] + height[order][:-1]) / 2 - 1e-9).all()
    assert (places - height / 2).min() >= -1e-9
    assert (places + height / 2).max() <= 4 + 1e-9


@given(st.lists(st.integers(0, 100), min_size=1, max_size=8, unique=True))
def test_names_that_are_apart_stay_where_they_are(wanted):
    np.testing.assert_allclose(_spread(wanted, np.full(len(wanted), 0.9), -1, 101), wanted)


def test_heat_map_shows_the_numbers_frames_the_best_and_leaves_the_missing_empty():
    shown = grid()
    axes = heatmaps({"v2l": shown, "l2v": shown.T}, labels={"v2l": "r", "l2v": "r"}).axes
    ax = axes[0]
    assert axes[1].collections[0].get_array().shape == shown.shape, "turned like the first"
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("language layer", "vision layer")
    cells = ax.collections[0].get_array()
    np.testing.assert_array_equal(cells.filled(np.nan), shown)
    best = np.unravel_index(np.nanargmax(shown), shown.shape)
    assert {patch.get_xy() for patch in ax.patches} == {best[::-1]}
    assert (
        f"{float(shown.max()):.3f}: vision {best[0]}, language {best[1]}" in ax.texts[0].get_text()
    )


def test_heat_maps_take_any_grid_of_two_dimensions():
    rng = np.random.default_rng(0)
    similarity = similarity_grid(rng.normal(size=(2, 30, 4)), rng.normal(size=(3, 30, 5)))
    ax = heatmaps({"CKA": similarity}, labels={"CKA": "debiased CKA"}).axes[0]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("target layer", "source layer")
    assert ": source " in ax.texts[0].get_text()
    with pytest.raises(InputError, match="take the mean over the other dimensions"):
        heatmaps({"r": similarity.expand_dims(fold=2)}, labels={"r": "r"})


def test_heat_maps_of_one_measure_share_their_colours_and_0_is_shown():
    a, b = grid() * 0 + 0.2, grid() * 0 + 0.5
    c = -xr.concat([a[:4], b[4:]], "vision_layer")
    axes = heatmaps({"a": a, "b": b, "c": c}, labels={"a": "r", "b": "r", "c": "cka"}).axes
    limits = {
        ax.get_title(loc="left"): ax.collections[0].get_clim()
        for ax in axes
        if ax.get_title(loc="left")
    }
    assert limits == {"a": (0, 0.5), "b": (0, 0.5), "c": (-0.5, -0.2)}


def test_depth_curves_show_the_numbers_and_name_each_once_a_row():
    table = curves()
    fig = depth_curves(table.sample(frac=1, random_state=0))  # rows may come in any order
    part = table[
        (table["panel"] == "V→L (r)")
        & (table["along"] == "vision")
        & (table["condition"] == "untrained")
    ]
    lines = [line.get_ydata() for line in fig.axes[0].lines]
    assert any(np.allclose(line, part["score"]) for line in lines)
    names = [t.get_text().replace("\n", " ") for t in shown(fig)]
    assert all(names.count(condition) == 3 for condition in set(table["condition"]))


@pytest.mark.parametrize(
    ("draw", "needed"),
    [
        (lambda: depth_curves(curves().drop(columns=["kind", "depth"])), "kind, depth missing"),
        (lambda: depth_curves(curves()[:0]), "it has no rows"),
        (
            lambda: depth_curves(curves().assign(kind="best")),
            "unknown kind 'best': choose one of trained, untrained, trivial, predicted, shuffled",
        ),
        (
            lambda: forest(pd.DataFrame({"effect": [1.0]}), label="r"),
            "condition, low, high missing",
        ),
        (lambda: claims_figure(claims().drop(columns="verdict")), "verdict missing"),
        (
            lambda: claims_figure(claims().assign(verdict="proved")),
            "unknown verdict 'proved': choose one of supported, not supported",
        ),
        (lambda: learning_curves(logged().drop(columns="step")), "step missing"),
        (lambda: contact_sheet([], []), "0 images and 0 captions"),
        (
            lambda: contact_sheet([np.zeros((4, 4, 3), np.uint8)], [""], row_labels=["a", "b"]),
            "2 row labels for 1 rows",
        ),
        (lambda: score_matrix(pd.DataFrame(), label="r"), "panel"),
        (lambda: heatmaps({"a": grid().expand_dims(fold=5)}, labels={"a": "r"}), r"mean\('fold'\)"),
        (lambda: heatmaps({"a": grid(empty=9)}, labels={"a": "r"}), "is every unit constant"),
        (lambda: heatmaps({"a": grid()}, labels={"b": "r"}), "no label for a"),
    ],
)
def test_what_cannot_be_drawn_is_refused_by_name(draw, needed):
    with pytest.raises(InputError, match=needed):
        draw()


def test_saving_twice_gives_the_same_bytes(tmp_path):
    first, second = (
        saved(forest(conditions(), label="r"), tmp_path / name, small_print="n = 20")
        for name in "ab"
    )
    assert [f.name for f in first.files] == [
        "figure.csv",
        "figure.svg",
        "figure.png",
        "figure.json",
    ]
    assert all(a.read_bytes() == b.read_bytes() for a, b in zip(first.files, second.files))
    assert not any(str(tmp_path).encode() in f.read_bytes() for f in first.files)


def test_a_saved_figure_is_150_dpi_with_alt_text_numbers_and_provenance(tmp_path):
    table, pairs = conditions(), grid().rename("r")
    saved(
        forest(table, label="r"),
        tmp_path,
        data={"all": table, "grid": pairs},
        provenance={"seed": 3},
        alt="Dots & bars.",
    )
    with Image.open(tmp_path / "figure.png") as picture:
        assert picture.width == 1050
        assert picture.info["Description"] == "Dots & bars."
    assert "<title>Dots &amp; bars.</title>" in (tmp_path / "figure.svg").read_text()
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "figure_all.csv"), table)
    kept = pd.read_csv(tmp_path / "figure_grid.csv", index_col=["vision_layer", "language_layer"])[
        "r"
    ].to_xarray()
    np.testing.assert_allclose(kept, pairs, rtol=1e-5)
    about = json.loads((tmp_path / "figure.json").read_text())
    assert about["provenance"] == {"seed": 3}
    assert "n = 20" in about["caption"]


@given(
    st.lists(st.tuples(st.text(string.printable), st.floats(allow_nan=False, width=32)), min_size=1)
)
@settings(deadline=None)
def test_csv_keeps_text_as_it_is_and_numbers_to_six_digits(rows):
    table = pd.DataFrame(rows, columns=["text", "value"])
    back = pd.read_csv(
        io.StringIO(csv_text(table)),
        dtype={"text": str},
        keep_default_na=False,
        lineterminator="\n",
    )
    assert [shown_text(text) for text in back["text"]] == list(table["text"])
    for text in back["text"]:
        if text[:1] in set("=+-@\t\r"):  # with what a spreadsheet begins formulas
            float(text)  # raises unless it is a number
    np.testing.assert_allclose(back["value"], table["value"], rtol=1e-5)


FORMULAS = ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "'=1", '=HYPERLINK("x")']


def test_no_cell_of_an_export_is_a_formula(tmp_path):
    table = pd.DataFrame({"caption": FORMULAS, "r": -0.5, "text": "-0.5", "none": None})
    saved(forest(conditions(), label="r"), tmp_path, data=table)
    with open(tmp_path / "figure.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["caption"] for row in rows] == [f"'{text}" for text in FORMULAS]
    assert {(row["r"], row["text"], row["none"]) for row in rows} == {("-0.5", "-0.5", "")}
    back = pd.read_csv(tmp_path / "figure.csv").map(shown_text)
    assert list(back["caption"]) == FORMULAS


DOLLARS = ["costs $5 and $10", "$$", "$\\frac{$", "a_b^c \\alpha", "$x$"]


def test_a_dollar_is_a_dollar():
    images = [np.zeros((8, 8, 3), np.uint8)] * len(DOLLARS)
    sheet_of = contact_sheet(images, DOLLARS, n_columns=3)
    named = curves().assign(condition=lambda table: "$" + table["condition"] + "$")
    figures = sheet_of, depth_curves(named), heatmaps({"$a$": grid()}, labels={"$a$": "$r$"})
    for figure in figures:
        _small_print(figure, "left out: $net$ · $")
        with style():
            figure.savefig(io.BytesIO(), format="svg")
    drawn = {text.get_text().replace("\n", " ") for text in sheet_of.findobj(Text)}
    assert set(DOLLARS) <= drawn
    # as wide as the same letters in matplotlib's own notation of a dollar that is one
    (text,) = (text for text in sheet_of.findobj(Text) if "$5" in text.get_text())
    canvas = FigureCanvasAgg(sheet_of)
    found = text.get_window_extent(canvas.get_renderer()).width
    text.set(parse_math=True, text=text.get_text().replace("$", r"\$"))
    assert text.get_window_extent(canvas.get_renderer()).width == found > 0


def test_a_heat_map_calls_the_best_layers_by_their_own_names():
    values = np.zeros((2, 3))
    values[1, 2] = 0.5
    layers = {
        "vision_name": ("vision_layer", ["block.13", "block.14"]),
        "language_name": ("language_layer", ["h.3", "h.4", "transformer.h.25.output"]),
    }
    shown = xr.DataArray(values, layers, ("vision_layer", "language_layer"))
    ax = heatmaps({"r": shown}, labels={"r": "r"}).axes[0]
    assert ax.texts[0].get_text() == "best 0.500: block.14 with …er.h.25.output"


def changed_files(folder):
    for file in sorted(folder.iterdir()):
        before = file.read_bytes()
        for place in (0, len(before) // 2, len(before) - 2):
            file.write_bytes(before[:place] + bytes([before[place] ^ 1]) + before[place + 1 :])
            yield file.name
        file.unlink()
        yield file.name
        file.write_bytes(before)


def test_a_saved_figure_is_verified_when_it_is_opened(tmp_path):
    saved(forest(conditions(), label="r"), tmp_path, provenance={"seed": 3})
    assert read_figure(tmp_path / "figure.json")["provenance"] == {"seed": 3}
    n = 0
    for name in changed_files(tmp_path):
        n += 1
        with pytest.raises(InputError, match=name):
            read_figure(tmp_path / "figure.json")
    assert n == 16
    read_figure(tmp_path / "figure.json")


@pytest.mark.parametrize("at", range(4))
def test_a_figure_is_saved_whole_or_not_at_all(tmp_path, monkeypatch, at):
    saved(forest(conditions(), label="r"), tmp_path)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    calls = []

    def full(handle):
        calls.append(handle)
        if len(calls) > at:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("seeing_words.core.files.os.fsync", full)
    with pytest.raises(InputError, match="cannot be written .No space left on device.: free some"):
        saved(forest(conditions(), label="other"), tmp_path)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_a_figure_needs_a_caption_and_an_alt_text(tmp_path):
    with pytest.raises(InputError, match="figure figure: a caption and an alt text are needed"):
        saved(forest(conditions(), label="r"), tmp_path, alt=" ")
    assert not list(tmp_path.iterdir())


@pytest.fixture
def displayed(monkeypatch) -> list:
    things = []
    monkeypatch.setattr("IPython.display.display", lambda *more: things.extend(more))
    return things


def test_a_notebook_links_to_the_picture_of_its_project(tmp_path, monkeypatch, displayed):
    project = tmp_path / "project"
    (project / "nbs" / "paper").mkdir(parents=True)
    (project / "settings.ini").touch()
    monkeypatch.chdir(project / "nbs" / "paper")
    figure = saved(forest(conditions(), label="r"), project / "figures" / "n=4", alt="Dots [r].")
    figure._ipython_display_()
    monkeypatch.setenv("SEEING_WORDS_NOTEBOOK_FOLDER", str(project / "_runs"))
    figure._ipython_display_()
    caption = "*Conditions, n = 20, 95 % intervals.*"
    beside, executed = (shown.data for shown in displayed)
    assert beside == f"![Dots (r).](../../figures/n%3D4/figure.png)\n\n{caption}"
    assert executed == f"![Dots (r).](../figures/n%3D4/figure.png)\n\n{caption}"


def test_a_picture_outside_the_project_is_embedded_with_its_caption(
    tmp_path, monkeypatch, displayed
):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setattr("seeing_words.plots.checkout", lambda: None)
    saved(forest(conditions(), label="r"), tmp_path)._ipython_display_()
    picture, caption = displayed
    assert picture.alt == "Dots."
    assert Image.open(io.BytesIO(picture.data)).width == 1050
    assert caption.data == "*Conditions, n = 20, 95 % intervals.*"


# Photographs in figures


def drawn(fig: Figure) -> list[tuple[np.ndarray, float, float]]:
    "Images of a figure, and how wide and high each is, in inches."
    fig.draw_without_rendering()
    images = [image for ax in fig.axes for image in ax.get_images()]
    sizes = [image.get_window_extent() for image in images]
    return [
        (image.get_array(), size.width / fig.dpi, size.height / fig.dpi)
        for image, size in zip(images, sizes)
    ]


SHAPES = [(480, 640), (640, 427), (3000, 4000), (64, 64), (8, 8), (20, 900)]


def changes(photographs: list[np.ndarray]) -> Figure:
    names = [f"change {i}" for i in range(len(photographs))]
    rows = [("images: appearance", name, "v2l", "refit", 0.0, -0.1, 0.1) for name in names]
    table = pd.DataFrame(
        rows, columns=["group", "condition", "direction", "arm", "effect", "low", "high"]
    )
    return perturbation_forest(table, dict(zip(names, photographs)), label="r")


@pytest.mark.parametrize("draw", [lambda p: contact_sheet(p, ["a"] * len(p), n_columns=3), changes])
def test_figures_hold_photographs_in_as_many_pixels_as_can_be_seen_and_in_their_shape(draw):
    photographs = [RNG.integers(0, 256, (*shape, 3), np.uint8) for shape in SHAPES]
    found = drawn(draw(photographs))
    for photograph, (shown, width, height) in zip(photographs, found, strict=True):
        h, w = shown.shape[:2]
        assert max(h, w) <= 300 * max(width, height) + 1
        assert width / height == pytest.approx(photograph.shape[1] / photograph.shape[0], rel=0.02)
        if (h, w) == photograph.shape[:2]:
            assert np.array_equal(shown, photograph)
        else:
            assert max(h, w) >= 0.98 * 300 * max(width, height)  # no fewer either
    for i in (3, 4):
        assert np.array_equal(found[i][0], photographs[i])  # never enlarged


def test_a_figure_of_photographs_weighs_little(tmp_path):
    photographs = [
        RNG.integers(0, 256, (1200, 1600, 3), np.uint8) for _ in range(4)
    ]  # noise: the worst to compress
    fig = changes(photographs)
    save_figure(fig, tmp_path / "f", data=pd.DataFrame({"a": [1]}), caption="c", alt="a")
    assert (tmp_path / "f.svg").stat().st_size < 4 * 132 * 132 * 3 * 4 / 3 + 200_000


@given(st.integers(1, 900), st.integers(1, 900), st.floats(0.1, 3))
def test_thumbnails_keep_the_shape_and_what_is_uniform(height, width, inches):
    image = np.full((height, width, 3), (10, 200, 90), np.uint8)
    small = _thumbnail(image, inches)
    shrink = min(1, round(300 * inches) / max(height, width))
    assert (
        np.abs(np.array(small.shape[:2]) - np.maximum(1, np.array([height, width]) * shrink)).max()
        <= 1
    )
    assert (small == image[0, 0]).all()


def test_marked_images_are_framed_and_rows_are_labelled():
    images = [np.zeros((4, 4, 3), np.uint8)] * 4
    figure = contact_sheet(images, [""] * 4, n_columns=2, row_labels=["a", "b"], marked={1, 2})
    framed = [bool(ax.patches) for ax in figure.axes if ax.images]
    assert framed == [False, True, True, False]
    assert [ax.texts[0].get_text() for ax in figure.axes if not ax.images] == ["a", "b"]


def test_a_matrix_has_every_score_in_its_place_and_bold_where_it_is_not_the_reference():
    rows = [(p, c, g) for p in "ab" for c in ("one", "two") for g in ("x", "y", "z")]
    table = pd.DataFrame(rows, columns=["panel", "condition", "group"])
    table["effect"] = RNG.uniform(0.3, 0.9, len(table))
    table["low"], table["high"] = table.effect - 0.1, table.effect + 0.1
    figure = score_matrix(table.drop(index=4), label="accuracy", reference=0.5)
    ax = figure.axes[0]
    shown = {text.get_position(): text for text in ax.texts}
    assert len(shown) == 5 and (1.5, 1.5) not in shown  # the missing cell is empty
    for (x, y), text in shown.items():
        row = table[table.panel == "a"].iloc[int(y) * 3 + int(x)]
        assert text.get_text() == f"{row.effect:.2f}"
        assert (text.get_weight() == "bold") == (row.low > 0.5 or row.high < 0.5)
    assert ax.get_ylim() == (2, 0)  # the first condition on top


def test_a_figure_with_examples_of_stimuli_says_so():
    row = {"group": "captions", "condition": "scrambled", "direction": "v2l", "arm": "refit"}
    table = pd.DataFrame([row | {"effect": -0.1, "low": -0.2, "high": 0.0}])
    assert shows_stimuli(perturbation_forest(table, {"scrambled": "sleeps dog a"}, label="r"))
    assert not shows_stimuli(perturbation_forest(table, {}, label="r"))
