"""Makes classical.json: inputs and onnxruntime's outputs for ClassicalCasesTests.swift. Needs onnx, onnxruntime, numpy."""
import numpy as np
from onnx import TensorProto as T
from onnx import helper as h
from recorded import Recorder, texts

rng = np.random.default_rng(11)
recorder = Recorder("ai.onnx.ml")
case = recorder.case


def floats(*shape):
    return rng.standard_normal(shape).astype(np.float32)


x = floats(5, 4)
TRANSFORMS = ["NONE", "LOGISTIC", "SOFTMAX", "SOFTMAX_ZERO"]
three = [float(v) for v in floats(12)]
for t in TRANSFORMS:
    case(f"linear classifier {t}", "LinearClassifier", dict(
        coefficients=three, intercepts=[0.1, -0.2, 0.3], classlabels_strings=["a", "b", "c"], post_transform=t), [x], outputs=2)
    case(f"linear regressor {t}", "LinearRegressor", dict(
        coefficients=three, intercepts=[0.1, -0.2, 0.3], targets=3, post_transform=t), [x])
for t in ["NONE", "LOGISTIC"]:
    case(f"binary linear classifier {t}", "LinearClassifier", dict(
        coefficients=three[:4], intercepts=[0.05], classlabels_ints=[5, 7], post_transform=t), [x], outputs=2)
case("linear classifier without labels", "LinearClassifier", dict(coefficients=three[:4], intercepts=[0.05]), [x], outputs=2)
case("linear regressor of a vector", "LinearRegressor", dict(coefficients=three[:4]), [x[0]])
for dtype in (np.float64, np.int64, np.int32):
    case(f"linear classifier of {dtype.__name__}", "LinearClassifier", dict(
        coefficients=three, intercepts=[0.1, -0.2, 0.3], classlabels_ints=[1, 2, 3]), [(x * 3).astype(dtype)], outputs=2)

for kernel, parameters in [("LINEAR", [0.0, 0.0, 0.0]), ("POLY", [0.5, 0.2, 3.0]), ("RBF", [0.4, 0.0, 0.0]), ("SIGMOID", [0.3, 0.1, 0.0])]:
    own = dict(kernel_type=kernel, kernel_params=parameters)
    vectors = [float(v) for v in floats(9 * 4)]
    case(f"svm regressor {kernel}", "SVMRegressor", dict(
        own, n_supports=9, support_vectors=vectors, coefficients=[float(v) for v in floats(9)], rho=[0.3]), [x])
    case(f"one-class svm {kernel}", "SVMRegressor", dict(
        own, n_supports=9, support_vectors=vectors, coefficients=[float(v) for v in floats(9)], rho=[0.3], one_class=1), [x])
    for classes, per in [(2, [5, 4]), (3, [3, 4, 2])]:
        pairs = classes * (classes - 1) // 2
        base = dict(
            own, support_vectors=vectors, coefficients=[float(v) for v in floats(9 * (classes - 1))], vectors_per_class=per,
            rho=[float(v) for v in floats(pairs)], classlabels_ints=[4, 6, 8][:classes])
        platt = dict(prob_a=[float(v) for v in floats(pairs)], prob_b=[float(v) for v in floats(pairs)])
        # onnxruntime leaves the two scores of a single decision as they are under SOFTMAX; the specification's reference does not.
        for t in TRANSFORMS if classes > 2 else TRANSFORMS[:2]:
            case(f"svm classifier {kernel} {classes} {t}", "SVMClassifier", dict(base, post_transform=t), [x], outputs=2)
        case(f"svm classifier {kernel} {classes} with probabilities", "SVMClassifier", dict(base, **platt), [x], outputs=2,
             tolerance=1e-4)
        named = dict(base, classlabels_strings=["p", "q", "r"][:classes])
        del named["classlabels_ints"]
        case(f"svm classifier {kernel} {classes} strings", "SVMClassifier", dict(named, **platt), [x.astype(np.float64)], outputs=2,
             tolerance=1e-4)
case("linear svm classifier", "SVMClassifier", dict(
    kernel_params=[0.0, 0.0, 0.0], coefficients=three, rho=[0.2, 0.2, 0.2], classlabels_ints=[1, 2, 3]), [x], outputs=2)
case("linear svm regressor", "SVMRegressor", dict(kernel_params=[0.0, 0.0, 0.0], coefficients=three[:4], rho=[0.2]), [x])

for norm in ("MAX", "L1", "L2"):
    case(f"normalizer {norm}", "Normalizer", dict(norm=norm), [np.concatenate([x, np.zeros((1, 4), np.float32)])])
    case(f"normalizer {norm} of integers", "Normalizer", dict(norm=norm), [np.arange(-5, 7).reshape(3, 4)])
    case(f"normalizer {norm} of a vector", "Normalizer", dict(norm=norm), [x[0].astype(np.float64)])
case("scaler", "Scaler", dict(offset=[1.0, 2.0, 3.0, 4.0], scale=[2.0, 0.5, -1.0, 3.0]), [x])
case("scaler of one", "Scaler", dict(offset=[1.0], scale=[2.0]), [np.arange(8, dtype=np.int32).reshape(2, 4)])
case("scaler of rank 3", "Scaler", dict(offset=[1.0, 2.0, 3.0], scale=[2.0, 3.0, 4.0]), [np.arange(12).reshape(2, 3, 2)])
holes = np.array([[1, np.nan], [np.nan, 2]], np.float32)
case("imputer of NaN", "Imputer", dict(imputed_value_floats=[9.0, 8.0], replaced_value_float=float("nan")), [holes])
case("imputer of zeros", "Imputer", dict(imputed_value_floats=[9.0]), [np.zeros((2, 2), np.float32)])
case("imputer of integers", "Imputer", dict(imputed_value_int64s=[9, 7], replaced_value_int64=1), [np.array([[1, 1], [2, 1]])])
case("binarizer", "Binarizer", dict(threshold=0.25), [x])
case("one hot of floats", "OneHotEncoder", dict(cats_int64s=[1, 2, 3]), [np.array([[1, 2.7], [4, 3]], np.float32)])
case("one hot of strings", "OneHotEncoder", dict(cats_strings=["a", "b"]), [texts("b", "c", "a")])
case("one hot of a repeated category", "OneHotEncoder", dict(cats_int64s=[1, 1, 3]), [np.array([1, 3])])
case("join", "FeatureVectorizer", dict(inputdimensions=[4, 2]), [x, floats(5, 2)])
case("join, cut and fill", "FeatureVectorizer", dict(inputdimensions=[3, 4]), [x.astype(np.float64), floats(5, 2).astype(np.float64)])
case("join vectors", "FeatureVectorizer", dict(inputdimensions=[2, 2]), [x[0, :2], x[1, :2]])
case("columns", "ArrayFeatureExtractor", {}, [x, np.array([[1, 0, 1]])])
case("columns of a vector", "ArrayFeatureExtractor", {}, [x[0], np.array([1])])
case("columns of strings", "ArrayFeatureExtractor", {}, [texts("a", "b", "c", "d").reshape(2, 2), np.array([1])])
case("columns of rank 3", "ArrayFeatureExtractor", {}, [np.arange(12).reshape(2, 3, 2), np.array([1, 0, 0])])
case("categories to integers", "CategoryMapper", dict(cats_int64s=[3, 4], cats_strings=["a", "b"]), [texts("a", "b", "z")])
case("categories to strings", "CategoryMapper", dict(cats_int64s=[3, 4, 3], cats_strings=["a", "b", "c"], default_string="?"),
     [np.array([[3, 4, 9]])])
case("classes to integers", "LabelEncoder", dict(classes_strings=["x", "y"], default_int64=-7), [texts("y", "q")])
case("classes to strings", "LabelEncoder", dict(classes_strings=["x", "y"]), [np.array([[1, 5]])])
case("floats to strings", "LabelEncoder", dict(keys_floats=[1.0, 0.0], values_strings=["one", "zero"], default_string="d"),
     [np.array([1, -0.0, 5], np.float32)], version=2)
case("integers to floats", "LabelEncoder", dict(keys_int64s=[1, 1, 2], values_floats=[2.0, 3.0, 4.0]), [np.array([1, 2, 3])], version=2)
case("strings to strings", "LabelEncoder", dict(keys_strings=["a"], values_strings=["b"]), [texts("a", "c")], version=2)
case("strings to int16", "LabelEncoder", dict(
    keys_strings=["a"], values_tensor=h.make_tensor("v", T.INT16, [1], [7]), default_tensor=h.make_tensor("d", T.INT16, [1], [3])),
    [texts("a", "b")], version=4)
case("doubles to doubles", "LabelEncoder", dict(
    keys_tensor=h.make_tensor("k", T.DOUBLE, [2], [1.5, 2.5]), values_tensor=h.make_tensor("v", T.DOUBLE, [2], [7.0, 8.0]),
    default_tensor=h.make_tensor("d", T.DOUBLE, [1], [3.0])), [np.array([1.5, 2.5, 9.0])], version=4)


def forest(prefix, trees, depth, targets, features, modes=("BRANCH_LEQ",), positive=False, missing=False):
    """Random full trees whose leaves vote for `targets`."""
    a = {f"nodes_{k}": [] for k in ("treeids", "nodeids", "featureids", "values", "modes", "truenodeids", "falsenodeids",
                                    "missing_value_tracks_true")}
    v = {f"{prefix}_{k}": [] for k in ("treeids", "nodeids", "ids", "weights")}
    for tree in range(trees):
        inner = (1 << depth) - 1
        for node in range(2 * inner + 1):
            leaf = node >= inner
            row = dict(
                treeids=tree, nodeids=node, featureids=0 if leaf else int(rng.integers(features)),
                values=0.0 if leaf else float(np.float32(rng.normal())), modes="LEAF" if leaf else str(rng.choice(modes)),
                truenodeids=0 if leaf else 2 * node + 1, falsenodeids=0 if leaf else 2 * node + 2,
                missing_value_tracks_true=int(missing and not leaf and rng.integers(2)))
            for key, value in row.items():
                a["nodes_" + key].append(value)
            if leaf:
                for target in targets:
                    weight = float(np.float32(rng.random() / trees if positive else rng.normal()))
                    for key, value in dict(treeids=tree, nodeids=node, ids=target, weights=weight).items():
                        v[f"{prefix}_{key}"].append(value)
    return dict(a, **v)


ALL = ("BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ")
many = floats(35, 4)
many[::7, 1] = np.nan
for aggregate in ("SUM", "AVERAGE", "MIN", "MAX"):
    case(f"trees {aggregate}", "TreeEnsembleRegressor", dict(
        forest("target", 5, 3, [0, 1], 4), n_targets=2, aggregate_function=aggregate, base_values=[0.5, -1.0]), [floats(35, 4)])
    case(f"trees of one target {aggregate}", "TreeEnsembleRegressor", dict(
        forest("target", 7, 4, [0], 4), n_targets=1, aggregate_function=aggregate), [floats(20, 4)])
case("trees of all comparisons", "TreeEnsembleRegressor", dict(
    forest("target", 6, 3, [0], 4, ALL, missing=True), n_targets=1), [many], version=1)
case("trees of doubles", "TreeEnsembleRegressor", dict(forest("target", 6, 3, [0], 4), n_targets=1), [many.astype(np.float64)])
for t in TRANSFORMS:
    case(f"tree classifier {t}", "TreeEnsembleClassifier", dict(
        forest("class", 4, 3, [0, 1, 2], 4, positive=True), classlabels_strings=["a", "b", "c"], post_transform=t), [floats(20, 4)],
        outputs=2)
case("tree classifier with base values", "TreeEnsembleClassifier", dict(
    forest("class", 4, 3, [0, 1, 2], 4), classlabels_int64s=[3, 1, 2], base_values=[0.1, 0.2, -0.4]), [floats(20, 4)], outputs=2)
for t in ("NONE", "LOGISTIC"):
    for positive in (False, True):
        case(f"binary tree classifier {t} {positive}", "TreeEnsembleClassifier", dict(
            forest("class", 4, 3, [0], 4, positive=positive), classlabels_int64s=[0, 1], post_transform=t), [floats(20, 4)], outputs=2)
        case(f"binary tree classifier {t} {positive} with base value", "TreeEnsembleClassifier", dict(
            forest("class", 4, 3, [0], 4, positive=positive), classlabels_int64s=[0, 1], post_transform=t, base_values=[0.2]),
            [floats(20, 4)], outputs=2)


def ensemble(dtype, aggregate, targets):
    """Three trees of the form of opset 5: two of three leaves with a set, one of two."""
    f = lambda *v: h.make_tensor("t", dtype, [len(v)], list(v))
    return dict(
        n_targets=targets, aggregate_function=aggregate, tree_roots=[0, 2, 4], nodes_featureids=[0, 1, 2, 0, 3],
        nodes_modes=h.make_tensor("m", T.UINT8, [5], [0, 1, 3, 6, 2]), nodes_splits=f(0.1, -0.3, 0.2, 0.0, 0.5),
        nodes_truenodeids=[0, 0, 3, 3, 5], nodes_trueleafs=[1, 1, 0, 1, 1], nodes_falsenodeids=[1, 1, 2, 4, 6],
        nodes_falseleafs=[0, 1, 1, 1, 1], leaf_targetids=[0, 1, 0, 1, 0, 1, 0] if targets > 1 else [0] * 7,
        leaf_weights=f(1.5, 2.5, -0.5, 0.25, 4.0, -1.0, 0.75),
        membership_values=f(1.0, 2.0, float("nan")))


# A true branch of node 0 is leaf 0, its false branch node 1, whose branches are leaves 0 and 1.
grid = np.round(floats(40, 4) * 2).astype(np.float32)
for aggregate in (0, 1, 2, 3):
    for dtype, kind in ((T.FLOAT, np.float32), (T.DOUBLE, np.float64)):
        case(f"ensemble {aggregate} {kind.__name__}", "TreeEnsemble", ensemble(dtype, aggregate, 1), [grid.astype(kind)], version=5)
        case(f"ensemble {aggregate} {kind.__name__} two", "TreeEnsemble", ensemble(dtype, aggregate, 2), [grid.astype(kind)], version=5)

recorder.write("classical.json")
