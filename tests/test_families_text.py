"""Logs of many programs, each in the words it prints: every one gives its runs, and its curves by their names.

The logs in data/families_text are made up; their words are those of the programs.
"""

from pathlib import Path

import pytest
from readings import read

DATA = Path(__file__).parent / "data" / "families_text"

# (name, number of values, first value, last value, step of the last)
Expected = tuple[str, int, float, float, int]

FAMILIES: dict[str, tuple[int, list[Expected]]] = {
    "absl": (
        1,
        [
            ("train/loss", 6, 0.8, 0.3, 600),
            ("lr", 6, 0.001, 0.000167, 600),
            ("val/loss", 6, 0.85, 0.35, 600),
            ("val/accuracy", 6, 0.55, 0.8, 600),
        ],
    ),
    "appended": (
        2,
        [
            ("train/loss", 8, 2.1, 0.7, 7),
            ("train/accuracy", 8, 30.0, 58.0, 7),
            ("test/loss", 8, 2.0, 0.8333, 7),
            ("test/accuracy", 8, 29.0, 57.0, 7),
        ],
    ),
    "baselines": (
        1,
        [
            ("approxkl", 5, 0.0012, 0.006, 5120),
            ("clipfrac", 5, 0.01, 0.01, 5120),
            ("eplenmean", 5, 901.0, 905.0, 5120),
            ("eprewmean", 5, -19.5, -15.5, 5120),
            ("explained_variance", 5, 0.1, 0.5, 5120),
            ("policy_entropy", 5, 1.69, 1.29, 5120),
        ],
    ),
    "catboost": (
        1,
        [
            ("train/value", 11, 0.66, 0.3266667, 100),
            ("test/value", 11, 0.67, 0.42, 100),
        ],
    ),
    "catboost_cpu": (
        1,
        [
            ("train/value", 12, 0.66, 0.6233333, 11),
        ],
    ),
    "cyclegan": (
        1,
        [
            ("d_a", 12, 0.28, 0.24, 1200),
            ("g_a", 12, 0.411, 0.431, 1200),
            ("cycle_a", 12, 1.4, 1.2, 1200),
            ("idt_a", 12, 0.612, 0.632, 1200),
            ("d_b", 12, 0.211, 0.231, 1200),
            ("g_b", 12, 0.315, 0.335, 1200),
        ],
    ),
    "deepspeed": (
        1,
        [
            ("lr", 6, 0.0001, 0.0006000000000000001, 60),
            ("train/loss", 6, 5.0, 2.5, 60),
        ],
    ),
    "fairseq_json": (
        1,
        [
            ("lr", 6, 1e-05, 6e-05, 600),
            ("gnorm", 6, 1.2, 1.2, 600),
            ("val/loss", 3, 8.1, 6.1, 600),
            ("val/perplexity", 3, 250.5, 150.5, 600),
            ("train/lr", 3, 2e-05, 6e-05, 600),
        ],
    ),
    "fairseq_simple": (
        1,
        [
            ("train/loss", 12, 11.1, 8.1, 900),
            ("train/nll_loss", 12, 10.3, 7.2, 900),
            ("train/perplexity", 12, 2350.0, 900.0, 900),
            ("lr", 12, 1.25e-05, 0.0001125, 900),
            ("train/gnorm", 12, 3.1, 2.1, 900),
            ("val/loss", 3, 8.1, 6.1, 3),
        ],
    ),
    "flair_new": (
        1,
        [
            ("train/loss", 30, 1.12666667, 0.1, 120),
            ("lr", 30, 1e-06, 3e-06, 120),
            ("val/loss", 3, 0.7, 0.5, 3),
            ("val/f1", 3, 0.72, 0.76, 3),
            ("test/loss", 3, 0.8, 0.6, 3),
            ("test/f1", 3, 0.7, 0.74, 3),
        ],
    ),
    "flair_old": (
        1,
        [
            ("train/loss", 12, 3.85, 1.4, 88),
            ("lr", 3, 0.1, 0.1, 3),
            ("val/loss", 3, 2.5, 0.5, 3),
            ("val/score", 3, 0.65, 0.75, 3),
            ("test/tp", 2, 210.0, 150.0, 3),
            ("test/fp", 2, 40.0, 50.0, 3),
        ],
    ),
    "gan_dcgan_keras": (
        1,
        [
            ("d_loss", 20, 0.69, 0.88, 19),
            ("train/accuracy", 20, 50.0, 59.5, 19),
            ("g_loss", 20, 0.8, 1.75, 19),
        ],
    ),
    "gan_eriklindernoren": (
        1,
        [
            ("d_loss", 15, 0.69, 0.55, 14),
            ("g_loss", 15, 0.8, 1.08, 14),
        ],
    ),
    "gcn_kipf": (
        1,
        [
            ("train/loss", 12, 1.9512, 1.35, 12),
            ("train/accuracy", 12, 0.15, 0.75, 12),
            ("val/loss", 12, 1.9401, 1.3686, 12),
            ("val/accuracy", 12, 0.1567, 0.7055, 12),
            ("test/loss", 1, 0.6512, 0.6512, 12),
            ("test/accuracy", 1, 0.831, 0.831, 12),
        ],
    ),
    "hf_trainer": (
        1,
        [
            ("grad_norm", 6, 2.5, 3.125, 5),
            ("lr", 6, 4.27536231884058e-05, 6.521739130434784e-06, 5),
            ("val/loss", 3, 0.5021, 0.1714, 5),
            ("val/accuracy", 3, 0.72, 0.7999999999999999, 5),
            ("val/f1", 3, 0.8167, 0.8833, 5),
        ],
    ),
    "keras1_backspace": (
        1,
        [
            ("train/loss", 3, 0.5, 0.3, 3),
            ("train/accuracy", 3, 0.85, 0.95, 3),
            ("val/loss", 3, 0.45, 0.25, 3),
            ("val/accuracy", 3, 0.8533, 0.92, 3),
            ("test/loss", 1, 0.2511, 0.2511, 3),
            ("test/accuracy", 1, 0.9198, 0.9198, 3),
        ],
    ),
    "keras1_return": (
        1,
        [
            ("train/loss", 3, 0.5, 0.3, 3),
            ("train/accuracy", 3, 0.85, 0.95, 3),
            ("val/loss", 3, 0.45, 0.25, 3),
            ("val/accuracy", 3, 0.8533, 0.92, 3),
            ("test/loss", 1, 0.2511, 0.2511, 3),
            ("test/accuracy", 1, 0.9198, 0.9198, 3),
        ],
    ),
    "keras3": (
        1,
        [
            ("train/accuracy", 3, 0.8, 0.9, 3),
            ("train/loss", 3, 0.45, 0.25, 3),
            ("val/accuracy", 3, 0.8333, 0.9, 3),
            ("val/loss", 3, 0.4, 0.2, 3),
            ("lr", 3, 0.001, 0.001, 3),
        ],
    ),
    "keras3_plain": (
        1,
        [
            ("train/accuracy", 4, 0.75, 0.9, 4),
            ("train/loss", 4, 0.5, 0.2, 4),
            ("val/accuracy", 4, 0.8333, 0.9333, 4),
            ("val/loss", 4, 0.4, 0.1, 4),
        ],
    ),
    "keras_tf2_verbose2": (
        1,
        [
            ("train/loss", 3, 0.4, 0.2, 3),
            ("train/accuracy", 3, 0.85, 0.95, 3),
            ("val/loss", 3, 0.35, 0.15, 3),
            ("val/accuracy", 3, 0.85, 0.9, 3),
            ("lr", 3, 0.001, 0.00033333, 3),
        ],
    ),
    "keras_verbose2": (
        1,
        [
            ("train/loss", 3, 0.4321, 0.2921, 3),
            ("train/accuracy", 3, 0.8812, 0.9112, 3),
            ("val/loss", 3, 0.3012, 0.2612, 3),
            ("val/accuracy", 3, 0.9101, 0.9263, 3),
        ],
    ),
    "kfold": (
        3,
        [
            ("train/loss", 4, 0.78, 0.48, 4),
            ("val/loss", 4, 0.8391, 0.5664, 4),
            ("val/accuracy", 4, 0.65, 0.8, 4),
        ],
    ),
    "kfold_header": (
        3,
        [
            ("train/loss", 3, 0.78, 0.58, 3),
            ("val/loss", 3, 0.8391, 0.6573, 3),
            ("val/auc", 3, 0.65, 0.75, 3),
        ],
    ),
    "lightgbm": (
        1,
        [
            ("val/auc", 11, 0.81, 0.887, 87),
            ("val/binary_logloss", 11, 0.48, 0.326, 87),
        ],
    ),
    "lightgbm_cli": (
        1,
        [
            ("train/auc", 10, 0.71, 0.7999999999999999, 10),
            ("val/1_auc", 10, 0.7, 0.79, 10),
        ],
    ),
    "lightgbm_train": (
        1,
        [
            ("train/rmse", 10, 0.88, 0.7, 1000),
            ("val/rmse", 10, 0.933333, 0.783333, 1000),
        ],
    ),
    "lightning": (
        1,
        [
            ("train/loss", 19, 0.9, 0.6, 316),
            ("val/loss", 19, 0.95, 0.65, 316),
            ("val/accuracy", 19, 0.6, 0.75, 316),
        ],
    ),
    "lightning_plain": (
        1,
        [
            ("train/loss", 4, 0.214, 0.151, 1290),
            ("val/loss", 3, 0.201, 0.172, 1290),
            ("test/accuracy", 1, 0.8725, 0.8725, 3),
            ("test/loss", 1, 0.1698, 0.1698, 3),
        ],
    ),
    "llama2c": (
        1,
        [
            ("val/loss", 3, 10.4, 6.5538, 200),
            ("lr", 21, 0.0, 0.0001, 200),
        ],
    ),
    "llmc": (
        1,
        [
            ("val/loss", 3, 11.009305, 8.777778, 20),
            ("train/loss", 20, 10.9, 9.0, 20),
            ("norm", 20, 14.9667, 8.6333, 20),
            ("lr", 20, 8.57e-07, 1.71e-05, 20),
        ],
    ),
    "logging_prefix": (
        1,
        [
            ("train/loss", 12, 2.0, 1.3, 1082),
            ("train/accuracy", 12, 30.0, 43.0, 1082),
        ],
    ),
    "loguru": (
        1,
        [
            ("train/loss", 5, 0.8, 0.4, 5),
            ("lr", 5, 0.001, 0.001, 5),
            ("val/loss", 5, 0.85, 0.45, 5),
            ("val/accuracy", 5, 0.55, 0.75, 5),
        ],
    ),
    "marian": (
        1,
        [
            ("cost", 8, 7.8, 6.4, 8000),
            ("lr", 8, 1.875e-05, 0.00015, 8000),
            ("val/cross_entropy", 4, 80.5, 50.5, 8000),
            ("val/perplexity", 4, 50.5, 20.5, 8000),
            ("val/bleu", 4, 12.5, 18.5, 8000),
        ],
    ),
    "megatron": (
        1,
        [
            ("lr", 11, 0.00015, 0.00165, 1100),
            ("lm_loss", 11, 9.5, 4.4, 1100),
            ("grad_norm", 11, 2.4, 1.402, 1100),
            ("lm_loss_value", 2, 6.5, 4.0, 1000),
            ("lm_loss_ppl", 2, 5500.0, 3000.0, 1000),
            ("throughput_per_gpu", 1, 201.2, 201.2, 1100),
        ],
    ),
    "modded_nanogpt_new": (
        1,
        [
            ("val/loss", 5, 10.8, 6.8, 40),
        ],
    ),
    "modded_nanogpt_old": (
        1,
        [
            ("val/loss", 4, 10.8, 7.8, 30),
            ("train/loss", 40, 10.7, 6.8, 40),
        ],
    ),
    "nan_losses": (
        1,
        [
            ("train/loss", 6, 2.0, float("nan"), 6),
            ("val/loss", 6, 2.2, float("nan"), 6),
            ("val/elbo", 6, -129.5, -124.5, 6),
        ],
    ),
    "nanogpt": (
        1,
        [
            ("val/loss", 3, 4.27, 1.889, 500),
        ],
    ),
    "numpy_reprs": (
        1,
        [
            ("train/loss", 6, 0.9, 0.4, 5),
            ("val/loss", 6, 0.95, 0.45, 5),
            ("val/accuracy", 6, 0.5, 0.75, 5),
        ],
    ),
    "ogb": (
        3,
        [
            ("train/loss", 5, 2.3, 1.5, 5),
            ("train/value", 5, 35.0, 55.0, 5),
            ("val/value", 5, 34.0, 54.0, 5),
            ("test/value", 5, 33.0, 53.0, 5),
        ],
    ),
    "opennmt_new": (
        1,
        [
            ("train/accuracy", 6, 9.5, 24.5, 300),
            ("train/perplexity", 6, 900.5, 150.1, 300),
            ("xent", 6, 6.9, 5.2, 300),
            ("lr", 6, 0.0001, 0.0006, 300),
            ("val/perplexity", 3, 350.0, 116.667, 300),
            ("val/accuracy", 3, 14.5, 22.5, 300),
        ],
    ),
    "opennmt_old": (
        1,
        [
            ("train/accuracy", 6, 9.5, 24.5, 300),
            ("train/perplexity", 6, 900.5, 150.08, 300),
            ("xent", 6, 6.87, 5.2, 300),
            ("lr", 6, 1.0, 1.0, 300),
            ("val/perplexity", 3, 350.0, 116.667, 300),
            ("val/accuracy", 3, 14.5, 22.5, 300),
        ],
    ),
    "pix2pix_tf": (
        1,
        [
            ("sec", 8, 8.1, 8.8, 400),
            ("discrim_loss", 8, 0.85, 0.5, 2),
            ("gen_loss_gan", 8, 1.15, 1.5, 2),
            ("gen_loss_l1", 8, 0.29, 0.22, 2),
        ],
    ),
    "pyg_gcn": (
        1,
        [
            ("train/value", 15, 0.3333, 0.8, 15),
            ("val/value", 15, 0.325, 0.675, 15),
            ("test/value", 15, 0.335, 0.685, 15),
        ],
    ),
    "pyg_words": (
        1,
        [
            ("train/loss", 12, 1.85, 1.3, 12),
            ("val/accuracy", 12, 42.0, 64.0, 12),
            ("test/accuracy", 12, 41.0, 63.0, 12),
        ],
    ),
    "pytorch_dcgan": (
        1,
        [
            ("loss_d", 12, 1.7, 1.2, 11),
            ("loss_g", 12, 4.5, 5.0, 11),
            ("d", 12, 0.5012, 0.5512, 11),
        ],
    ),
    "resumed": (
        1,
        [
            ("train/loss", 11, 2.1, 1.2, 9),
            ("test/accuracy", 11, 29.0, 65.0, 9),
        ],
    ),
    "sb3": (
        1,
        [
            ("rollout_ep_len_mean", 5, 32.5, 72.5, 10240),
            ("rollout_ep_rew_mean", 5, 32.5, 72.5, 10240),
            ("time_elapsed", 5, 2.0, 10.0, 10240),
            ("train/approx_kl", 4, 0.01, 0.013000000000000001, 10240),
            ("train/clip_range", 4, 0.2, 0.2, 10240),
            ("train/entropy_loss", 4, -0.66, -0.63, 10240),
        ],
    ),
    "sklearn_gbm": (
        1,
        [
            ("train/loss", 10, 1.15, 0.7, 10),
            ("oob_improve", 10, 0.0467, 0.0167, 10),
        ],
    ),
    "sklearn_mlp": (
        1,
        [
            ("train/loss", 12, 2.2, 1.1, 12),
            ("val/score", 12, 0.525, 0.8, 12),
        ],
    ),
    "sklearn_mlp_plain": (
        1,
        [
            ("train/loss", 12, 2.2, 1.1, 12),
        ],
    ),
    "sklearn_sgd": (
        1,
        [
            ("norm", 8, 1.3, 2.0, 8),
            ("nnzs", 8, 30.0, 30.0, 8),
            ("bias", 8, 0.1, 0.8, 8),
            ("t", 8, 1000.0, 8000.0, 8),
            ("train/loss", 8, 0.475, 0.3, 8),
        ],
    ),
    "sockeye": (
        1,
        [
            ("train/perplexity", 8, 800.5, 100.5, 400),
        ],
    ),
    "spinningup": (
        1,
        [
            ("average_epret", 5, 21.5, 61.5, 20000),
            ("std_epret", 5, 11.2, 15.2, 20000),
            ("max_epret", 5, 60.0, 64.0, 20000),
            ("min_epret", 5, 9.0, 9.0, 20000),
            ("eplen", 5, 21.5, 61.5, 20000),
            ("loss_pi", 5, -0.01, -0.05, 20000),
        ],
    ),
    "tensor2tensor": (
        1,
        [
            ("train/loss", 6, 9.9, 4.9, 500),
            ("val/loss", 1, 4.8012, 4.8012, 500),
            ("val/metrics_translate_ende_targets_accuracy", 1, 0.31212, 0.31212, 500),
            ("val/metrics_translate_ende_targets_neg_log_perplexity", 1, -4.7121, -4.7121, 500),
        ],
    ),
    "tensors": (
        1,
        [
            ("train/loss", 6, 0.9, 0.4, 5),
            ("train/accuracy", 6, 0.5, 0.75, 5),
        ],
    ),
    "tf_estimator": (
        1,
        [
            ("train/loss", 21, 2.3122, 0.3, 2000),
            ("val/accuracy", 2, 0.7, 0.9, 2000),
            ("val/loss", 2, 1.2000000000000002, 0.20000000000000018, 2000),
        ],
    ),
    "wandb_output": (
        1,
        [
            ("train/loss", 3, 1.8212, 1.3212, 3),
            ("train/accuracy", 3, 33.21, 52.71, 3),
            ("val/loss", 3, 1.6012, 1.3012, 3),
            ("val/accuracy", 3, 41.12, 53.42, 3),
        ],
    ),
    "xgboost": (
        1,
        [
            ("train/error", 15, 0.14125, 0.07, 14),
            ("val/error", 15, 0.15212, 0.094, 14),
        ],
    ),
    "xgboost_old": (
        1,
        [
            ("train/rmse", 12, 3.4, 2.85, 11),
            ("val/rmse", 12, 3.5, 3.06, 11),
        ],
    ),
}


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_a_log_of_this_program_gives_its_runs_and_curves(family: str) -> None:
    runs, expected = FAMILIES[family]
    found = read((DATA / f"{family}.log").read_bytes(), path=f"{family}.log").runs
    assert len(found) == runs
    for name, count, first, last, step in expected:
        curve = found[0].only(name)
        assert (len(curve.values), curve.steps[-1]) == (count, step), name
        assert [curve.values[0], curve.values[-1]] == pytest.approx([first, last], nan_ok=True), name


def test_what_is_printed_beside_results_is_no_curve() -> None:
    beside = {"eta", "v_num", "mfu", "remaining", "wps", "ups", "wpb", "gb_free", "best", "runtime", "fps"}
    for path in sorted(DATA.glob("*.log")):
        for run in read(path.read_bytes(), path=path.name).runs:
            curves = {c.metric.name.rsplit("/", 1)[-1] for c in run.curves.values() if c.metric.kind == "curve"}
            assert not curves & beside, path.name


def test_a_run_says_why_it_began_where_a_log_was_appended_to_itself() -> None:
    runs = read((DATA / "appended.log").read_bytes(), path="appended.log").runs
    assert [run.start.reason for run in runs] == [None, "epoch went 7 → 0 at line 9"]


def test_what_is_printed_before_the_training_is_its_params() -> None:
    params = read((DATA / "logging_prefix.log").read_bytes(), path="a.log").runs[0].start.params
    assert dict(params) == {"arch": "resnet18", "lr": "0.05", "batch_size": "128", "epochs": "3"}
