"""Synthetic samples against exact probabilities, a plain float64 model, and the definition of a pure function."""

import subprocess
import sys

import numpy as np
import pytest

from deshpc.config import SyntheticConfig
from deshpc.data import synthetic
from deshpc.data.hidden_model import BEST_AUC, CLICK_RATE, best_auc
from deshpc.data.synthetic import describe, draw, generate
from deshpc.hashing.key import key

PROFILES = [
    ("small", "dense"),
    ("criteo", "dense"),
    ("criteo", "bucket"),
    ("industrial", "dense"),
    ("history", "dense"),
]
ROWS = {"small": 200_000, "criteo": 100_000, "industrial": 2_000, "history": 1_000}
every_profile = pytest.mark.parametrize(("profile", "numeric"), PROFILES)


def config(profile, numeric="dense", seed=1):
    return SyntheticConfig(profile=profile, numeric=numeric, seed=seed, train_rows=10**9, valid_rows=1000)


def arrays(samples):
    return {name: array for name, array in vars(samples).items() if array is not None}


def check_frequencies(counts, weight):
    """Chi-square test of counts whose probabilities are proportional to `weight`, at 4 standard deviations."""
    expected = weight / weight.sum() * counts.sum()
    assert expected.min() > 5
    freedom = len(counts) - 1
    assert ((counts - expected) ** 2 / expected).sum() < freedom + 4 * np.sqrt(2 * freedom)


# --- what is drawn


@pytest.mark.parametrize("field", [8, 5, 0, 25, 2])
def test_values_follow_zipf_exactly(field):
    """Each of the first 50 values, then bins of growing width, up to 10 M values."""
    one = config("criteo")
    n = describe(one).cardinalities[field]
    ids = draw(one, "train", 0, 200_000).ids.reshape(-1, 26)[:, field]
    weight = np.arange(1, n + 1) ** -1.05
    edges = np.unique(np.minimum(n, np.concatenate((np.arange(51), np.geomspace(51, 10**8, 60).astype(int)))))
    counts, _ = np.histogram(ids, edges - 0.5)
    assert counts.sum() == len(ids)
    check_frequencies(counts, np.add.reduceat(weight, edges[:-1]))


@every_profile
def test_values_stay_inside_their_field(profile, numeric):
    one = config(profile, numeric)
    raw = draw(one, "train", 0, ROWS[profile])
    cardinalities = np.array(describe(one).cardinalities)
    assert raw.ids.min() == 0
    assert (raw.ids < cardinalities[raw.fields]).all()
    for field in np.flatnonzero(cardinalities <= 30):  # small fields show all their values
        assert len(np.unique(raw.ids[raw.fields == field])) == cardinalities[field]


@pytest.mark.parametrize(
    ("profile", "one_hot", "low", "high", "mean"), [("industrial", 0, 1, 20, 3.6), ("history", 8, 0, 200, 83.0)]
)
def test_bag_sizes_are_geometric(profile, one_hot, low, high, mean):
    one = config(profile)
    raw = draw(one, "train", 0, ROWS[profile])
    rows, n_fields = len(raw.offsets) - 1, len(describe(one).field_names)
    row = np.repeat(np.arange(rows), np.diff(raw.offsets))
    sizes = np.bincount(row * n_fields + raw.fields, minlength=rows * n_fields).reshape(rows, n_fields)
    assert (sizes[:, :one_hot] == 1).all()
    bags = sizes[:, one_hot:].ravel()
    assert bags.min() == low and bags.max() == high
    assert abs(bags.mean() - mean) < 4 * bags.std() / np.sqrt(len(bags))
    size = np.arange(low, high + 1)
    ratios = np.linspace(0.5, 0.9999, 5000)
    weights = ratios[:, None] ** (size - low)
    means = (weights * size).sum(axis=1) / weights.sum(axis=1)
    weight = np.interp(mean, means, ratios) ** (size - low)
    check_frequencies(np.bincount(bags, minlength=high + 1)[low:], weight)


def test_history_values_fall_with_age():
    raw = draw(config("history"), "train", 0, 20)
    begins = np.flatnonzero(np.diff(raw.fields, prepend=np.uint16(65535)) != 0)  # no two bags of a field are adjacent
    for begin, end in zip(begins, [*begins[1:], len(raw.fields)], strict=True):
        np.testing.assert_allclose(raw.values[begin:end], 0.97 ** np.arange(end - begin), rtol=1e-6)


def test_dense_features_are_standardised_and_independent():
    dense = draw(config("criteo"), "train", 0, 100_000).dense.astype(np.float64)
    assert dense.shape == (100_000, 13)
    assert np.abs(dense.mean(axis=0)).max() < 5 / np.sqrt(100_000)
    assert np.abs(dense.std(axis=0) - 1).max() < 5 / np.sqrt(100_000)
    assert abs(dense.std() - 1) < 4 / np.sqrt(2 * dense.size)  # the kurtosis is below a normal's
    assert np.abs(dense).max() < 3.47
    assert np.abs(np.corrcoef(dense.T) - np.eye(13)).max() < 5 / np.sqrt(100_000)


def test_fields_rows_and_parts_are_independent():
    size = np.log1p(draw(config("small"), "train", 0, 100_000).ids.reshape(-1, 12))
    other = np.log1p(draw(config("small", seed=2), "train", 0, 100_000).ids.reshape(-1, 12))
    bound = 5 / np.sqrt(100_000)
    assert np.abs(np.corrcoef(size.T) - np.eye(12)).max() < bound
    assert np.abs(np.corrcoef(size[:-1].T, size[1:].T)[:12, 12:]).max() < bound
    assert np.abs(np.corrcoef(size.T, other.T)[:12, 12:]).max() < bound


def test_values_of_a_bag_are_independent():
    raw = draw(config("industrial"), "train", 0, ROWS["industrial"])
    same_bag = np.diff(raw.fields) == 0
    first, second = raw.ids[:-1][same_bag], raw.ids[1:][same_bag]
    large = raw.fields[:-1][same_bag] < 20  # 10^6 values each
    sizes = np.log1p(first[large]), np.log1p(second[large])
    assert abs(np.corrcoef(*sizes)[0, 1]) < 4 / np.sqrt(large.sum())


# --- a pure function of (seed, part, row)


@every_profile
def test_any_split_into_blocks_gives_the_same_bytes(profile, numeric):
    one = config(profile, numeric)
    whole = generate(one, "train", 1000, 1060)
    blocks = [generate(one, "train", a, b) for a, b in ((1000, 1001), (1001, 1001), (1001, 1037), (1037, 1060))]
    for name in arrays(whole):
        if name != "offsets":
            joined = np.concatenate([getattr(block, name) for block in blocks])
            assert joined.tobytes() == getattr(whole, name).tobytes(), name
    sizes = np.concatenate([np.diff(block.offsets) for block in blocks])
    np.testing.assert_array_equal(np.diff(whole.offsets), sizes)
    assert len(blocks[1]) == 0 and blocks[1].offsets.tolist() == [0]


def test_parts_and_seeds_differ():
    train, valid = (generate(config("criteo"), part, 0, 1000) for part in ("train", "valid"))
    other = generate(config("criteo", seed=2), "train", 0, 1000)
    for samples in (valid, other):
        assert (train.keys[train.fields == 2] == samples.keys[train.fields == 2]).mean() < 0.1
        assert abs(np.corrcoef(train.labels, samples.labels)[0, 1]) < 0.15
        assert not (train.dense == samples.dense).any()


def test_sizes_of_the_rows_of_a_configuration_do_not_matter():
    few = SyntheticConfig(profile="small", train_rows=100)
    many = SyntheticConfig(profile="small", train_rows=5000)
    assert generate(few, "train", 0, 100).truth.tobytes() == generate(many, "train", 0, 100).truth.tobytes()


# --- keys, truth, labels


@every_profile
def test_keys_are_those_of_the_values_as_text(profile, numeric):
    one = config(profile, numeric)
    raw, samples = draw(one, "test", 0, 20), generate(one, "test", 0, 20)
    names = describe(one).field_names
    assert samples.keys.tolist() == [key(int(f), names[f], str(i)) for f, i in zip(raw.fields, raw.ids, strict=True)]
    assert len(str(raw.ids.max())) >= 3  # several digits, and one digit
    assert (raw.ids < 10).any()


def plain_fold(state, *words):
    for word in words:
        z = ((state ^ word) + 0x9E3779B97F4A7C15) % 2**64
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
        state = z ^ z >> 31
    return state


def plain_weight(word):
    return ((word >> 40) - 8388607.5) / 8388608


@every_profile
def test_truth_against_the_explicit_pairwise_sum(profile, numeric):
    one = config(profile, numeric, seed=3)
    rows = 4
    raw, samples = draw(one, "train", 7, 7 + rows), generate(one, "train", 7, 7 + rows)
    model = synthetic._hidden_model(describe(one).profile, np.uint64(3))
    for i in range(rows):
        here = slice(raw.offsets[i], raw.offsets[i + 1])
        x = np.ones(len(raw.ids[here])) if raw.values is None else raw.values[here].astype(np.float64)
        words = [plain_fold(3, 1, int(f), int(value)) for f, value in zip(raw.fields[here], raw.ids[here], strict=True)]
        w = np.array([plain_weight(word) for word in words])
        v = np.array([[plain_weight(plain_fold(word, c)) for c in range(4)] for word in words])
        beta = np.array([plain_weight(plain_fold(3, 2, d)) for d in range(raw.dense.shape[1])])
        pairs = np.triu((v @ v.T) * np.outer(x, x), k=1).sum()
        linear = w @ x + beta @ raw.dense[i].astype(np.float64)
        logit = model.linear_scale * linear + model.pair_scale * pairs + model.bias
        assert samples.truth[i] == pytest.approx(1 / (1 + np.exp(-logit)), rel=1e-6)  # stored as float32


@every_profile
@pytest.mark.parametrize("seed", [1, 2**63 + 5])
def test_every_profile_and_seed_is_equally_hard(profile, numeric, seed):
    """Standard errors: of 8192 calibration rows (0.0025 of the rate, 0.003 of the AUC) and of the rows here."""
    rows = max(4000, ROWS[profile] // 4)
    truth = generate(config(profile, numeric, seed), "train", 0, rows).truth.astype(np.float64)
    assert truth.mean() == pytest.approx(CLICK_RATE, abs=4 * np.hypot(truth.std() / np.sqrt(rows), 0.0025))
    assert best_auc(truth) == pytest.approx(BEST_AUC, abs=4 * np.hypot(0.25 / np.sqrt(rows), 0.003))


@pytest.mark.parametrize("profile", ["small", "criteo"])
def test_labels_are_bernoulli_draws_of_the_truth(profile):
    samples = generate(config(profile), "train", 0, ROWS[profile])
    truth = samples.truth.astype(np.float64)
    assert set(np.unique(samples.labels)) == {0, 1}
    for part in np.array_split(np.argsort(truth), 10):  # calibrated in every tenth of the truth
        error = (samples.labels[part] - truth[part]).mean()
        assert abs(error) < 4 * np.sqrt((truth[part] * (1 - truth[part])).sum()) / len(part)
    residual = samples.labels - truth
    assert abs(np.corrcoef(residual[1:], residual[:-1])[0, 1]) < 4 / np.sqrt(len(truth))


def auc(labels, scores):
    """Share of pairs of a click and a non-click that the scores order rightly; ties count half."""
    clicks, others = scores[labels == 1], np.sort(scores[labels == 0])
    below = np.searchsorted(others, clicks, side="left") + np.searchsorted(others, clicks, side="right")
    return below.sum() / 2 / len(clicks) / len(others)


@pytest.mark.parametrize("profile", ["small", "criteo"])
def test_auc_of_the_truth_is_what_it_is_expected_to_be(profile):
    samples = generate(config(profile), "train", 0, ROWS[profile])
    expected = best_auc(samples.truth)
    error = np.sqrt(expected * (1 - expected) / samples.labels.sum())  # bounds an AUC's standard error
    assert abs(auc(samples.labels, samples.truth) - expected) < 4 * error


def test_best_auc_by_counting_pairs():
    p = np.array([0.1, 0.5, 0.5, 0.9, 0.3, 0.5, 0.0, 1.0])  # with ties
    won = total = 0.0
    for i in range(len(p)):
        for j in range(len(p)):
            if i != j:
                pair = p[i] * (1 - p[j])
                total += pair
                won += pair * (1.0 if p[i] > p[j] else 0.5 if p[i] == p[j] else 0.0)
    assert best_auc(p) == pytest.approx(won / total, rel=1e-14)


def test_no_linear_model_reaches_the_small_profile():
    """The best linear fit to the true log-odds themselves, without any noise, still loses 0.02 of AUC."""
    raw, samples = (make(config("small"), "train", 0, 200_000) for make in (draw, generate))
    ids, dense = raw.ids.reshape(-1, 12), raw.dense.astype(np.float64)
    truth = samples.truth.astype(np.float64)
    log_odds = np.log(truth / (1 - truth))
    residual = log_odds - log_odds.mean()
    for _ in range(5):  # least squares, one column after another; the columns are nearly orthogonal
        for field in range(12):
            value = ids[:, field]
            residual -= (np.bincount(value, residual) / np.maximum(1, np.bincount(value)))[value]
        for d in range(2):
            residual -= dense[:, d] * (dense[:, d] @ residual) / (dense[:, d] @ dense[:, d])
    assert auc(samples.labels, truth) - auc(samples.labels, log_odds - residual) > 0.02


# --- the interface


def test_descriptions():
    criteo, buckets = describe(config("criteo")), describe(config("criteo", "bucket"))
    assert sum(criteo.cardinalities) == 33_762_577
    assert (min(criteo.cardinalities), max(criteo.cardinalities)) == (3, 10_131_227)
    assert (len(criteo.dense_names), criteo.keys_per_sample) == (13, 26)
    assert (len(buckets.dense_names), buckets.keys_per_sample) == (0, 39)
    assert buckets.field_names == tuple(f"c{i}" for i in range(39))
    industrial, history = describe(config("industrial")), describe(config("history"))
    assert industrial.keys_per_sample == pytest.approx(432)
    assert sorted(industrial.cardinalities)[:1] + sorted(industrial.cardinalities)[-21:-19] == [10, 10**5, 10**6]
    assert history.keys_per_sample == 1004
    assert len(history.field_names) == 20
    assert [describe(config("small")).rows(part) for part in ("train", "valid", "test")] == [10**9, 1000, 100_000]


@every_profile
def test_shapes_and_types(profile, numeric):
    one = config(profile, numeric)
    samples = generate(one, "train", 10**9 - 3, 10**9)
    assert (samples.keys.dtype, samples.fields.dtype, samples.offsets.dtype) == (np.uint64, np.uint16, np.int64)
    assert (samples.dense.dtype, samples.labels.dtype, samples.truth.dtype) == (np.float32,) * 3
    assert samples.dense.shape == (3, len(describe(one).dense_names))
    assert samples.offsets[0] == 0 and samples.offsets[-1] == len(samples.keys) == len(samples.fields)
    assert (samples.values is None) == (profile != "history")


@pytest.mark.parametrize(
    ("part", "start", "stop", "message"),
    [
        ("training", 0, 1, "'training' is not one of train, valid, test"),
        ("valid", 0, 1001, "rows 0 .. 1001 of the 1000 rows of valid"),
        ("valid", -1, 5, "rows -1 .. 5"),
        ("valid", 5, 4, "rows 5 .. 4"),
    ],
)
def test_rows_that_do_not_exist(part, start, stop, message):
    with pytest.raises(ValueError, match=message):
        generate(config("small"), part, start, stop)


def test_a_description_needs_no_numba():
    program = (
        "import sys; sys.modules['numba'] = sys.modules['numpy'] = None\n"
        "from deshpc.config import SyntheticConfig\n"
        "from deshpc.data.profiles import describe\n"
        "print(describe(SyntheticConfig(profile='criteo')).keys_per_sample)"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "26"
