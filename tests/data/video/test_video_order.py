"""Reordered streams: only positions change, and everything that is read by position follows."""

import itertools
import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf
from PIL import Image
from tiny_settings import TINY

from odkd.commands.repair import repair
from odkd.config.compose import compose_config
from odkd.config.known import CONF
from odkd.config.parts import Parts
from odkd.data.labels.store import LabelStore
from odkd.data.video.index import VideoIndex
from odkd.data.video.order import StreamOrder, put_in_order, sequence_length
from odkd.data.video.stream import Stream, make_stream


def stream_of(*videos: tuple[str, str, int], gap: float = 2.0, stride: int = 1) -> Stream:
    """Return a stream of videos, given as (stem, domain, sampled frames); sampled frames are `gap` seconds apart."""
    indices = tuple(
        VideoIndex(
            path=Path(f"{stem}.mp4"),
            digest=stem,
            width=8,
            height=8,
            rotation=0,
            time_base=Fraction(gap / stride).limit_denominator(1000),
            pts=np.arange(count * stride),
            keyframes=np.zeros(1, np.int64),
        )
        for stem, _, count in videos
    )
    counts = [count for *_, count in videos]
    video_of = np.repeat(np.arange(len(videos)), counts)
    frame_of = np.concatenate([np.arange(count) * stride for count in counts])
    return make_stream(indices, tuple(domain for _, domain, _ in videos), video_of, frame_of)


STREAMS = st.lists(
    st.tuples(st.sampled_from(["day", "dusk", "rain"]), st.integers(2, 30)), min_size=2, max_size=5
).filter(lambda videos: len({domain for domain, _ in videos}) > 1)


@given(STREAMS, st.sampled_from(["domain", "video"]), st.integers(1, 4), st.none() | st.integers(1, 6), st.data())
def test_groups_of_an_alternating_stream_take_turns_and_no_frame_occurs_twice(
    videos: list[tuple[str, int]], by: str, periods: int, length: int | None, data: st.DataObject
) -> None:
    base = stream_of(*((f"v{n}", domain, count) for n, (domain, count) in enumerate(videos)))
    order = StreamOrder(kind="alternate", by=by, periods=periods, sequence_positions=length)  # type: ignore[arg-type]
    names = [base.domain_of(p) if by == "domain" else f"v{base.video_of[p]}" for p in range(len(base))]
    groups = list(dict.fromkeys(names))
    if min(names.count(group) for group in groups) < periods * (length or 1):
        with pytest.raises(ValueError, match=r"lower dataset\.order\.periods"):
            put_in_order(base, order)
        return
    made, index = put_in_order(base, order)
    assert index.dtype == np.int64
    assert len(set(index.tolist())) == len(index) == len(made)
    np.testing.assert_array_equal(made.video_of, base.video_of[index])
    np.testing.assert_array_equal(made.frame_of, base.frame_of[index])
    segments = made.segments
    assert len(segments) == periods * len(groups)
    assert [p for segment in segments for p in segment] == list(range(len(made)))
    for number, segment in enumerate(segments):
        assert {names[index[p]] for p in segment} == {groups[number % len(groups)]}
        assert length is None or len(segment) == length
    for group in groups:  # positions ascend within a group
        assert np.all(np.diff([i for i in index if names[i] == group]) > 0)
    if length is None:
        assert len(made) == len(base)
        for group in range(len(groups)):
            assert len({len(segment) for segment in segments[group :: len(groups)]} - {0}) <= 2
    assert np.all(np.diff(made.seconds) > 0)
    assert made.seconds[0] == 0
    assert made.digest != base.digest

    dropped = data.draw(st.lists(st.integers(0, len(made) - 1), max_size=len(made) - 1, unique=True))
    fewer = made.without([(int(made.video_of[p]), int(made.frame_of[p])) for p in dropped])
    kept = np.setdiff1d(np.arange(len(made)), dropped)
    np.testing.assert_array_equal(fewer.frame_of, made.frame_of[kept])
    np.testing.assert_array_equal(fewer.seconds, made.seconds[kept])
    assert fewer.segment_of[0] == 0
    assert set(np.diff(fewer.segment_of)) <= {0, 1}
    assert [np.unique(made.segment_of[kept[list(segment)]]).size for segment in fewer.segments] == [1] * len(
        fewer.segments
    )
    assert (fewer.digest == made.digest) == (not dropped)


def test_orders_of_a_small_worked_case() -> None:
    base = stream_of(("1_town", "town", 7), ("2_road", "road", 5), gap=3.0, stride=90)
    order = StreamOrder(kind="alternate", by="video", periods=2, sequence_minutes=0.1, skip_minutes={"*town": 0.05})
    made, index = put_in_order(base, order)
    assert sequence_length(base, order) == 2  # 6 seconds, one frame every 3 seconds
    assert index.tolist() == [1, 2, 7, 8, 3, 4, 9, 10]  # the first frame of town is skipped
    assert made.video_of.tolist() == [0, 0, 1, 1, 0, 0, 1, 1]
    assert made.frame_of.tolist() == [90, 180, 0, 90, 270, 360, 180, 270]
    np.testing.assert_allclose(made.seconds, np.arange(8) * 3.0)
    assert made.segment_of.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert [made.domain_of(segment[0]) for segment in made.segments] == ["town", "road", "town", "road"]
    often = StreamOrder(
        kind="alternate", by="video", sequence_positions=2
    )  # as many periods as the shortest group allows
    assert len(put_in_order(base, often)[0]) == 8
    evenly = StreamOrder(kind="alternate", by="domain", periods=2)
    assert [len(segment) for segment in put_in_order(base, evenly)[0].segments] == [4, 3, 3, 2]


def test_a_concatenated_stream_is_the_stream_itself_and_its_segments_are_runs_of_one_domain() -> None:
    base = stream_of(("a", "day", 2), ("b", "day", 3), ("c", "dusk", 1), ("d", "", 2), ("e", "", 1), ("f", "day", 1))
    made, index = put_in_order(base, StreamOrder())
    assert made is base
    assert index.tolist() == list(range(10))
    assert base.segment_of.tolist() == [0, 0, 0, 0, 0, 1, 2, 2, 3, 4]
    skipped, index = put_in_order(base, StreamOrder(skip_minutes={"c": 1.0, "b": 2 / 60}))
    assert index.tolist() == [0, 1, 3, 4, 6, 7, 8, 9]
    assert skipped.segment_of.tolist() == [0, 0, 0, 0, 1, 1, 2, 3]
    assert np.diff(skipped.seconds).tolist() == [2] * 6 + [0]  # a video of one frame has no duration
    joined, index = put_in_order(base, StreamOrder(sequence_positions=4))
    assert index.tolist() == list(range(10))
    assert [len(segment) for segment in joined.segments] == [4, 4, 2]
    assert len({base.digest, skipped.digest, joined.digest}) == 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "alternat"}, "dataset.order.kind=alternat; expected concatenate or alternate"),
        ({"by": "frame"}, "expected domain or video"),
        ({"kind": "alternate"}, "needs dataset.order.periods"),
        ({"periods": 2}, "applies only to streams that alternate"),
        ({"kind": "alternate", "periods": 0}, "periods=0; expected a whole number"),
        ({"sequence_minutes": -1}, "sequence_minutes=-1; expected minutes"),
        ({"sequence_minutes": 1, "sequence_positions": 2}, "both set the length of a sequence"),
        ({"skip_minutes": {"a": "x"}}, "skip_minutes.a=x; expected minutes"),
        ({"skip_minutes": {"z": 1}}, "names z, which matches no video"),
        ({"skip_minutes": {"*": 1}}, "leave no frame of the stream"),
        ({"kind": "alternate", "periods": 2, "sequence_positions": 4}, "domain night has 6 .* need 8; .*at most 1"),
        ({"kind": "alternate", "periods": 7, "by": "video"}, "video b.mp4 has 6 .* need 7; .*at most 6"),
    ],
)
def test_an_impossible_order_is_refused(settings: dict[str, object], message: str) -> None:
    base = stream_of(("a", "day", 9), ("b", "night", 6))
    with pytest.raises(ValueError, match=message):
        put_in_order(base, StreamOrder(**settings))  # type: ignore[arg-type]


def test_alternating_needs_two_known_groups() -> None:
    alternate = StreamOrder(kind="alternate", periods=2)
    with pytest.raises(ValueError, match=r"1 of 2 videos have no domain \(b\); name it in dataset.domains"):
        put_in_order(stream_of(("a", "day", 9), ("b", "", 6)), alternate)
    with pytest.raises(ValueError, match="needs at least two domains and finds only day"):
        put_in_order(stream_of(("a", "day", 9), ("b", "day", 6)), alternate)


def test_lengths_in_minutes_are_refused_for_different_sampling_rates() -> None:
    slow, fast = stream_of(("a", "day", 9), gap=3.0), stream_of(("b", "night", 9), gap=2.0)
    both = make_stream(slow.videos + fast.videos, ("day", "night"), np.repeat([0, 1], 9), np.tile(slow.frame_of, 2))
    with pytest.raises(ValueError, match=r"a is sampled every 3 s and b every 2 s.*set dataset.stride_seconds"):
        put_in_order(both, StreamOrder(kind="alternate", sequence_minutes=0.1))


TURNS = ["dataset.order.kind=alternate", "dataset.order.periods=2", "dataset.order.sequence_positions=3"]


def parts_of(cache: Path, *overrides: str, outputs: Path | None = None) -> Parts:
    return Parts(compose_config([*TINY, f"paths.cache={cache}", f"paths.outputs={outputs or cache}", *overrides]))


@pytest.mark.parametrize("store", ["disk", "none"])
def test_frames_labels_and_ground_truth_of_a_reordered_stream_equal_those_of_the_videos(
    cache: Path, store: str
) -> None:
    base = parts_of(cache, f"dataset.frame_store={store}")
    made = parts_of(cache, f"dataset.frame_store={store}", *TURNS)
    for parts in (base, made):
        parts.label_stream()
    assert made.stream.segment_of.tolist() == [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3
    assert [made.stream.domain_of(p) for p in (0, 3, 6, 9)] == ["city", "night"] * 2
    assert made.stream_parts.sequence_positions == 3
    assert base.stream_parts.sequence_positions == 10
    assert made.groundtruth is not None
    assert base.groundtruth is not None
    index = put_in_order(base.stream, made.stream_parts.order)[1]
    np.testing.assert_array_equal(made.frames.read([11, 0, 4]), base.frames.read(index[[11, 0, 4]].tolist()))
    for position, base_position in enumerate(index.tolist()):
        np.testing.assert_array_equal(made.labels.read(position), base.labels.read(base_position))
        np.testing.assert_array_equal(made.groundtruth.read(position), base.groundtruth.read(base_position))


def test_orders_share_frames_and_labels_but_not_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = parts_of(tmp_path, *TURNS)
    made.label_stream()
    assert made.teacher_labels.missing() == []
    stored = [len(store.all_stored()) for store in map(made.teacher_labels.find, made.teacher_labels.videos) if store]
    assert stored == [6, 6]  # two stretches of three frames in each domain; the third video is not needed
    base = parts_of(tmp_path)
    assert base.teacher_identity == made.teacher_identity
    assert base.key != made.key
    assert len({parts_of(tmp_path, *TURNS, f"dataset.order.by={by}").key for by in ("domain", "video")}) == 2
    files = {path: path.stat().st_mtime_ns for path in tmp_path.glob("frames/*/frames.raw")}

    missing = base.teacher_parts.stores(base.sampled, base.stream).missing()
    assert len(missing) == len(base.stream) - 12
    base.label_stream()
    assert base.teacher_labels.missing() == []
    assert base.teacher_labels.folders == made.teacher_labels.folders
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("frames/*/frames.raw")} == files
    monkeypatch.setattr("odkd.teachers.labeller.Labeller.run", lambda _: pytest.fail("labelled twice"))
    again = parts_of(tmp_path, *TURNS, "dataset.order.sequence_positions=4")
    assert again.teacher_labels.missing() == []


@pytest.mark.slow
def test_labels_made_for_a_reordered_stream_can_be_repaired_and_completed(tmp_path: Path) -> None:
    made = parts_of(tmp_path, *TURNS, "teacher.label_noise=0.1")
    made.label_stream()
    folder = made.teacher_labels.folders[1]
    before = [made.labels.read(position) for position in range(len(made.stream))]
    LabelStore(folder).labels.shard_path(0).unlink()
    assert repair(folder, []) == 10  # all frames of the video, although the order needed only six
    again = parts_of(tmp_path, *TURNS, "teacher.label_noise=0.1")
    for position, label_HW in enumerate(before):
        np.testing.assert_array_equal(again.labels.read(position), label_HW)


def test_order_is_applied_after_damaged_frames_are_left_out(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from odkd.data.video import frames

    prepare = frames._prepare_video
    monkeypatch.setattr(
        frames, "_prepare_video", lambda video, *a, **k: prepare(video, *a, **k) + [2] * ("00" in video.stem)
    )
    made = parts_of(cache, *TURNS)
    first = [(int(v), int(f)) for v, f in zip(made.stream.video_of[:3], made.stream.frame_of[:3], strict=True)]
    assert first == [(0, 0), (0, 4), (0, 6)]
    np.testing.assert_allclose(made.stream.seconds[:4], [0, 1, 1.5, 2])  # the frame before the damage lasts longer
    made.label_stream()
    assert made.labels.read(1).shape == (32, 48)


def test_a_user_defined_dataset_needs_no_order(cache: Path) -> None:
    own = compose_config([*TINY, f"paths.cache={cache}", f"paths.outputs={cache}"])
    OmegaConf.set_struct(own, False)
    del own["dataset"]["order"]
    OmegaConf.set_struct(own, True)
    assert Parts(own).key == parts_of(cache).key
    own.dataset = {**own.dataset, "order": {"sequence_positions": 5}}
    assert Parts(own).stream_parts.sequence_positions == 5
    own.dataset = {**own.dataset, "order": {"perids": 5}}
    with pytest.raises(ValueError, match=r"there is no setting dataset.order.perids; did you mean periods"):
        Parts(own)


def test_a_window_that_is_too_large_for_the_reordered_stream_is_refused_before_decoding(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"do not fit the stream \(12 sampled frames\)"):
        _ = parts_of(tmp_path, *TURNS, "window.learn=13").folder
    assert not (tmp_path / "frames").exists()


def test_a_run_follows_a_reordered_stream(odkd: Callable[..., Path]) -> None:
    run = odkd(*TURNS)
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [record["domain"] for record in records] == ["city", "night", "city"]  # positions 0, 4, 8 of 3 + 3 + 3 + 3
    assert [record["domain_began"] for record in records] == [0, 3, 6]
    assert [record["metrics"]["stream/seconds"] for record in records] == [0, 2, 4]


@pytest.mark.slow
def test_the_cyclic_synthetic_stream_changes_its_domain_every_60_positions(cache: Path) -> None:
    size = ["dataset.prepare.height=32", "dataset.prepare.width=32", "dataset.size=[32,32]"]
    rate = ["dataset.prepare.frame_rate=1", "dataset.stride=1"]
    cfg = compose_config(["dataset=synthetic_cyclic", *size, *rate, f"paths.cache={cache}"])
    parts = Parts(cfg)
    assert [len(segment) for segment in parts.stream.segments] == [60] * 8
    assert parts.stream_parts.sequence_positions == 60
    assert [parts.stream.domain_of(segment[0]) for segment in parts.stream.segments] == ["city", "night"] * 4


@pytest.mark.parametrize("path", sorted((CONF / "dataset").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_dataset_has_a_valid_order(path: Path) -> None:
    order = OmegaConf.to_container(compose_config([f"dataset={path.stem}", "dataset.root=x"]).dataset.order)
    assert isinstance(order, dict)
    StreamOrder(**order)  # type: ignore[arg-type]


def test_cyclic_camvid_alternates_between_day_and_dusk_with_its_ground_truth(camvid: Path, cache: Path) -> None:
    parts = Parts(compose_config(["dataset=camvid_cyclic", f"dataset.root={camvid}", f"paths.cache={cache}"]))
    stream = parts.stream
    assert len(stream) == 240
    assert parts.stream_parts.sequence_positions == 30
    assert [stream.domain_of(segment[0]) for segment in stream.segments] == ["day", "dusk"] * 4
    names = [stream.videos[video].stem for video, _ in itertools.groupby(stream.video_of.tolist())]
    day, dusk, later_day = (video.stem for video in stream.videos)  # the first day clip ends within the fourth stretch
    assert names == [day, dusk, day, dusk, day, dusk, day, later_day, dusk]
    assert parts.groundtruth is not None
    for position in (0, 31, 200, 239):
        video, frame = stream.videos[stream.video_of[position]].stem, int(stream.frame_of[position])
        with Image.open(camvid / "groundtruth" / video / f"{frame:06d}.png") as image:
            np.testing.assert_array_equal(parts.groundtruth.read(position), np.asarray(image))
    frame = parts.frames.read([30])[0]  # the first dusk frame is the first frame of its video
    assert (int(stream.video_of[30]), int(stream.frame_of[30])) == (1, 0)
    assert frame.shape == (180, 240, 3)
    assert frame.mean() < parts.frames.read([0])[0].mean()  # dusk is darker
