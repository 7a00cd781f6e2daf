"""The short way of a run: the same results and errors as the long one."""
import pathlib
import threading

import numpy as np
import pytest

import apus
from apus._arrays import ArrayRuns

MODELS = pathlib.Path(__file__).resolve().parents[3] / "Examples" / "models"


@pytest.fixture
def session():
    return apus.InferenceSession(str(MODELS / "digits_cnn.onnx"), apus.SessionOptions(intra_op_num_threads=1))


def images(count, seed=0):
    return np.random.default_rng(seed).random((count, 1, 8, 8), np.float32)


def long_way(session, feed):
    kept, session._array_runs = session._array_runs, None
    try:
        return session.run(None, feed)
    finally:
        session._array_runs = kept


def test_shapes_come_and_go(session):
    name = session.get_inputs()[0].name
    for count in [1, 3, 1, 1, 2, 3, 3]:
        feed = {name: images(count, count)}
        for short, long in zip(session.run(None, feed), long_way(session, feed)):
            assert short.shape == long.shape and short.dtype == long.dtype
            np.testing.assert_array_equal(short, long)


def test_the_short_way_is_taken(session):
    name = session.get_inputs()[0].name
    feed = {name: images(2)}
    session.run(None, feed)
    assert session._array_runs.run(session.handle, feed, None) is not None


def test_outputs_of_unknown_rank():
    onnx = pytest.importorskip("onnx")
    kind = onnx.helper.make_tensor_type_proto(onnx.TensorProto.FLOAT, None)
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Neg", ["x"], ["y"])], "g", [onnx.helper.make_value_info("x", kind)], [onnx.helper.make_value_info("y", kind)])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    s = apus.InferenceSession(model.SerializeToString())
    assert s.get_outputs()[0].shape == [] and not s.get_outputs()[0].has_rank
    for shape in [(2, 3), (2, 3), (0, 3), (), (4,), ()]:
        x = np.full(shape, 2, np.float32)
        np.testing.assert_array_equal(s.run(None, {"x": x})[0], -x)


def two_inputs(a, b, y, nodes):
    onnx = pytest.importorskip("onnx")
    info = lambda name, shape: onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
    graph = onnx.helper.make_graph([onnx.helper.make_node(*node[:3], **node[3]) for node in nodes], "g", [info("a", a), info("b", b)], [info("y", y)])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    return apus.InferenceSession(model.SerializeToString())


@pytest.mark.parametrize("declared", [None, "all of them"])
def test_new_shapes_follow_from_the_names_of_dimensions(declared):
    s = two_inputs(["n", 2], ["past", 2], [declared, 2], [("Concat", ["a", "b"], ["y"], {"axis": 0})])
    for n, past in [(1, 4), (2, 4), (0, 3), (5, 0)]:
        feed = {"a": np.full((n, 2), 1, np.float32), "b": np.full((past, 2), 2, np.float32)}
        short = s._array_runs.run(s.handle, feed, None)
        assert short is not None or declared
        np.testing.assert_array_equal(s.run(None, feed)[0], np.concatenate(list(feed.values())))


def test_names_that_say_something_else():
    s = two_inputs(["n", 2], ["k", "n"], ["n", 2], [("MatMul", ["b", "a"], ["y"], {})])
    for k, n in [(3, 3), (4, 3), (4, 3), (2, 5), (1, 2)]:
        feed = {"a": np.full((n, 2), 1, np.float32), "b": np.full((k, n), 2, np.float32)}
        np.testing.assert_array_equal(s.run(None, feed)[0], feed["b"] @ feed["a"])


def test_results_are_kept(session):
    name = session.get_inputs()[0].name
    first = session.run(None, {name: images(2, 1)})[0]
    copy = first.copy()
    for seed in range(5):
        session.run(None, {name: images(2, seed)})
    np.testing.assert_array_equal(first, copy)


def test_other_memory_takes_the_long_way(session):
    name = session.get_inputs()[0].name
    expected = session.run(None, {name: images(4)})[0]
    wide = np.zeros((4, 1, 8, 16), np.float32)
    wide[..., ::2] = images(4)
    for other in [np.asfortranarray(images(4)), wide[..., ::2], images(4).tolist(), images(4).astype(">f4")]:
        if isinstance(other, list):
            other = np.array(other, np.float32)
        np.testing.assert_array_equal(session.run(None, {name: other})[0], expected)


def test_errors(session):
    name = session.get_inputs()[0].name
    session.run(None, {name: images(1)})
    with pytest.raises(apus.InvalidArgument):
        session.run(None, {name: images(1).astype(np.float64)})
    with pytest.raises(apus.InvalidArgument):
        session.run(None, {name: images(1)[:, :, :7].copy()})
    with pytest.raises(apus.InvalidArgument):
        session.run(None, {"nobody": images(1)})
    with pytest.raises(apus.InvalidArgument):
        session.run(None, {})
    with pytest.raises(apus.InvalidArgument):
        session.run(["nobody"], {name: images(1)})
    # The session is as good as before.
    assert session.run(None, {name: images(1)})[0].shape[0] == 1


def test_empty_batch(session):
    name = session.get_inputs()[0].name
    for _ in range(2):
        assert session.run(None, {name: images(0)})[0].shape[0] == 0


def test_threads(session):
    name = session.get_inputs()[0].name
    feeds = [{name: images(count, count)} for count in (1, 2, 3, 4)]
    expected = [long_way(session, feed) for feed in feeds]
    failures = []

    def work(start):
        for i in range(200):
            feed, want = feeds[(start + i) % 4], expected[(start + i) % 4]
            if not all(np.array_equal(a, b) for a, b in zip(session.run(None, feed), want)):
                failures.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_named_outputs_in_their_order():
    session = apus.InferenceSession(str(MODELS / "digits_lstm.onnx"))
    name, outputs = session.get_inputs()[0].name, [output.name for output in session.get_outputs()]
    feed = {name: np.random.default_rng(1).random([1 if not isinstance(size, int) else size for size in session.get_inputs()[0].shape], np.float32)}
    session.run(None, feed)
    every = session.run(None, feed)
    for i, output in enumerate(outputs):
        np.testing.assert_array_equal(session.run([output], feed)[0], every[i])


def test_time_limit(session):
    name = session.get_inputs()[0].name
    session.run(None, {name: images(1)})
    with pytest.raises(apus.Interrupted):
        session.run(None, {name: images(1)}, apus.RunOptions(time_limit=0))


@pytest.fixture
def staged(session):
    """A session that has memory of its own for one image, and the image's result."""
    name = session.get_inputs()[0].name
    for _ in range(3):
        expected = session.run(None, {name: images(1)})[0]
    assert len(session._array_runs._staged) == 1
    return session, name, expected


def test_small_arrays_of_any_layout(staged):
    session, name, expected = staged
    wide = np.zeros((1, 1, 8, 16), np.float32)
    wide[..., ::2] = images(1)
    sealed = images(1)
    sealed.flags.writeable = False
    shifted = np.zeros(images(1).nbytes + 1, np.uint8)[1:].view(np.float32).reshape(1, 1, 8, 8)
    shifted[...] = images(1)
    for other in [np.asfortranarray(images(1)), wide[..., ::2], sealed, shifted, images(1).astype(">f4"), images(1).tolist()]:
        if isinstance(other, list):
            other = np.array(other, np.float32)
        np.testing.assert_array_equal(session.run(None, {name: other})[0], expected)


def test_results_of_small_arrays_are_kept(staged):
    session, name, expected = staged
    copy = expected.copy()
    first = session.run(None, {name: images(1)})[0]
    assert first.flags.owndata and first.flags.writeable
    first[...] = 7
    np.testing.assert_array_equal(session.run(None, {name: images(1)})[0], copy)
    session.run(None, {name: images(1, 5)})
    assert (first == 7).all()


def test_errors_with_small_arrays(staged):
    session, name, expected = staged
    wrong = [
        {name: images(1).astype(np.float64)}, {name: images(1)[:, :, :7].copy()}, {name: images(1)[0]}, {"nobody": images(1)}, {},
        {name: images(1), "nobody": images(1)},
    ]
    for feed in wrong:
        for _ in range(3):
            session.run(None, {name: images(1)})
        with pytest.raises(apus.InvalidArgument):
            session.run(None, feed)
    for _ in range(3):
        np.testing.assert_array_equal(session.run(None, {name: images(1)})[0], expected)
    with pytest.raises(apus.Interrupted):
        session.run(None, {name: images(1)}, apus.RunOptions(time_limit=0))
    with pytest.raises(apus.InvalidArgument):
        session.run(["nobody"], {name: images(1)})
    assert session.run([], {name: images(1)}) == []
    session.close()
    with pytest.raises(ValueError):
        session.run(None, {name: images(1)})


def test_threads_with_small_arrays(staged):
    session, name, _ = staged
    feeds = [{name: images(1, seed)} for seed in range(4)]
    expected = [long_way(session, feed) for feed in feeds]
    failures = []

    def work(feed, want):
        for _ in range(500):
            if not all(np.array_equal(a, b) for a, b in zip(session.run(None, feed), want)):
                failures.append(feed)

    threads = [threading.Thread(target=work, args=pair) for pair in zip(feeds, expected)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures and len(session._array_runs._staged) <= 4


def test_large_arrays_are_not_copied(session):
    name = session.get_inputs()[0].name
    for _ in range(3):
        session.run(None, {name: images(33)})
    assert not session._array_runs._staged


def test_strings_have_no_short_way():
    class Argument:
        name, type, shape, element_type = "x", "tensor(string)", [1], 8

    assert ArrayRuns.make([Argument], [Argument]) is None
