"""Random configurations: `DRAWS[model_type](rng, model_type)` is a config.json. A module per family."""

from . import classic, dense, moe, recurrent

DRAWS = {}
for family in (classic, dense, moe, recurrent):
    assert not DRAWS.keys() & family.DRAWS.keys(), f"{family.__name__} draws what another family draws"
    DRAWS.update(family.DRAWS)
