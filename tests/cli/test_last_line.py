"""What train and eval say at their end: what lies where, and what to do next."""

from pathlib import Path

import pytest

from pointrend_jax import experiment
from pointrend_jax.cli import main
from pointrend_jax.structures import Config
from tests.tiny import save_start, tiny_config
from tests.tiny_refiner import refiner_config

SCORES = "scores (results.json; report.html, for a browser)"
PREDICT = "predict IMAGES --checkpoint {} --output predicted"
REFINE = "refine --images FOLDER --annotations coarse.json --checkpoint {} --output fine.json"


@pytest.mark.parametrize("scored", [True, False])
@pytest.mark.parametrize(
    ("config", "use"),
    [(tiny_config(), PREDICT), (refiner_config(), REFINE)],
    ids=["masks", "refine"],
)
def test_eval_names_scores_where_there_are_some_and_the_models_own_command(
    config: Config,
    use: str,
    scored: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    results = {"rendered": {"mask_ap": 0.5}} if scored else {}
    monkeypatch.setattr(experiment, "evaluate_run", lambda *arguments: results)
    save_start(config, tmp_path)
    main(["eval", "--workdir", str(tmp_path)])
    said = capsys.readouterr().out
    assert (f"has the {SCORES} and what was found. Next:" in said) == scored
    assert ("has what was found (detections_*.json). Next:" in said) == (not scored)
    assert use.format(tmp_path) in said


@pytest.mark.parametrize("scored", [True, False])
def test_train_names_scores_only_where_there_are_some(
    scored: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def train(config: Config, workdir: Path, *, accept_changes: bool) -> None:
        """As the real one, if the evaluation set has annotations or not."""
        if scored:
            (workdir / "results.json").write_text("{}")

    monkeypatch.setattr(experiment, "train", train)
    main(["train", "--config", "tiny", "--workdir", str(tmp_path)])
    said = capsys.readouterr().out
    losses = "its losses and scores by step (metrics.jsonl, tensorboard/)"
    whole = f"the trained model (checkpoints/), {losses} and the last {SCORES}. Next:"
    assert (whole in said) == scored
    assert (f"the trained model (checkpoints/) and {losses}. Next:" in said) == (not scored)
    assert PREDICT.format(tmp_path) in said
