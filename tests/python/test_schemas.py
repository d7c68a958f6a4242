"""The JSON schemas in config/, against every config in the project and a table of bad pools."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from jsonschema import Draft202012Validator
from referencing import Registry, Resource

CHECKPOINT_SCHEMA = "checkpoint.schema.json"
POOL_SCHEMA = "pool.schema.json"
POLICY_SCHEMA = "policy.schema.json"


def load(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


# What the library's own readers say of these pools, tests/unit/io/outcomes_test.cc checks.
POOLS = load(ROOT / "tests/golden/pools/pools.json")


def validator(name: str) -> Draft202012Validator:
    names = (CHECKPOINT_SCHEMA, POOL_SCHEMA, POLICY_SCHEMA)
    schemas = {name: load(ROOT / "config" / name) for name in names}
    resources = [(name, Resource.from_contents(schema)) for name, schema in schemas.items()]
    Draft202012Validator.check_schema(schemas[name])
    return Draft202012Validator(schemas[name], registry=Registry().with_resources(resources))


def test_every_pool_file_is_valid() -> None:
    pools = sorted(
        set((ROOT / "config").glob("*.json")) - set((ROOT / "config").glob("*.schema.*"))
    )
    assert {pool.name for pool in pools} >= {"default.json", "released.json"}
    for pool in pools:
        validator(POOL_SCHEMA).validate(load(pool))


def test_every_checkpoint_is_valid() -> None:
    configs = sorted(ROOT.glob("checkpoints/*/config.json"))
    configs += sorted(ROOT.glob("tests/golden/**/config.json"))
    assert len(configs) >= 2
    for config in configs:
        validator(CHECKPOINT_SCHEMA).validate(load(config))


def test_the_released_config_is_valid(joblib_folder: Path) -> None:
    validator(CHECKPOINT_SCHEMA).validate(load(joblib_folder / "config.json"))


@pytest.mark.parametrize("name", POOLS["good"])
def test_a_good_pool_is_accepted(name: str) -> None:
    validator(POOL_SCHEMA).validate(POOLS["good"][name])


@pytest.mark.parametrize("name", POOLS["bad"])
def test_a_bad_pool_is_refused(name: str) -> None:
    assert not validator(POOL_SCHEMA).is_valid(POOLS["bad"][name])


def test_a_checkpoint_may_have_a_policy() -> None:
    config = load(ROOT / "checkpoints/default/config.json")
    checkpoint = validator(CHECKPOINT_SCHEMA)
    assert checkpoint.is_valid(config | {"policy": {"max_cost_usd": 0.01}})
    for bad in ({"max_cost": 1}, {"max_cost_usd": -1}, {"lambda": 0.5}, {"cap": {"min": 1}}, 1):
        assert not checkpoint.is_valid(config | {"policy": bad})


def test_an_unknown_field_is_refused() -> None:
    pool = {"models": {}} | POOLS["good"]["least"]
    assert validator(POOL_SCHEMA).is_valid(pool)
    assert not validator(POOL_SCHEMA).is_valid(pool | {"model": {}})
    model = pool["models"]["a"] | {"price": 1}
    assert not validator(POOL_SCHEMA).is_valid({"models": {"a": model}})
