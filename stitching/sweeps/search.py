"""The search space of maps, for `experiment=tune`."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from optuna.trial import Trial


def suggest_options(config: Any, trial: "Trial") -> None:
    """Let a trial choose the options of its kind of map that are not set.

    Hydra's Optuna sweeper calls this function for each trial (`custom_search_space`).

    Args:
        config: Hydra's configuration of the sweep.
        trial: `params` are its choices so far, `user_attrs` the overrides of the command line.
    """
    given = {**trial.user_attrs, **trial.params}
    kind = given.get("map") or config.hydra.runtime.choices["map"]
    n_train = int(given.get("data.n_train", config.data.n_train))
    options: dict[str, Any] = {
        "reduced_rank": {"map.rank": lambda key: trial.suggest_int(key, 1, 512, log=True)},
        "relative": {
            # Some of the fit images are held out, and cannot be anchors.
            "map.n_anchors": lambda key: trial.suggest_int(key, 2, max(2, n_train // 2), log=True),
            "map.cutoff": lambda key: trial.suggest_float(key, 0.0, 0.5),
        },
        "mlp": {
            "map.hidden": lambda key: trial.suggest_int(key, 64, 2048, log=True),
            "map.lr": lambda key: trial.suggest_float(key, 1e-4, 1e-2, log=True),
            "map.weight_decay": lambda key: trial.suggest_float(key, 1e-4, 1.0, log=True),
        },
    }
    for key, suggest in options.get(kind, {}).items():
        if key not in given:
            suggest(key)
