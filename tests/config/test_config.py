"""The schema, YAML as people write it, overrides, and one clear message per mistake."""

import pytest

from initopt_jax.config.overrides import apply_override
from initopt_jax.config.schema import Config, differences, read_config, validate
from initopt_jax.config.yaml_text import parse_yaml
from initopt_jax.errors import ConfigError

MINIMAL = {
    "name": "tiny",
    "task": {"name": "classification", "dataset": "digits"},
    "model": "mlp",
    "initializers": ["zeros"],
    "optimizers": [{"name": "sgd", "learning_rate": 0.1}],
}


def changed(**keys):
    return {**MINIMAL, **keys}


def test_defaults_fill_a_minimal_config():
    config = validate(MINIMAL)
    assert config.seeds.all == 10
    assert config.task.dataset.name == "digits"
    assert config.optimizers[0].options == {"learning_rate": 0.1}
    assert config.tuning.metric == "val_loss"


def test_json_form_reads_back_to_the_same_config():
    config = validate(changed(seeds={"init": 2, "data": 3}, target={"at_least": 0.9}))
    assert validate(config.to_json()) == config


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"stepz": 5}, r"unknown key 'stepz'; did you mean 'steps'\?"),
        ({"seeds": 0}, "seeds"),
        ({"seeds": {"init": 5}}, "crossed design needs both"),
        ({"steps": "many"}, "steps.*'many'"),
        ({"steps": 2.5}, "steps"),
        ({"initializers": []}, "initializers"),
        ({"task": {"name": "classification"}}, "task.dataset is missing"),
        ({"task": {**MINIMAL["task"], "batchsize": 3}}, "did you mean 'batch_size'"),
        ({"name": "../elsewhere"}, "name"),
        ({"name": 12}, r"name: must be a text; write it in quotes if it is one \(got 12\)"),
        ({"early_stop": "maybe"}, "early_stop: input should be a valid boolean"),
        ({"zzz": 1}, r"unknown key 'zzz'\. Allowed: audit, checkpoint_every"),
        ({"target": {"metric": "val_loss"}}, "exactly one of at_least and at_most"),
        ({"target": {"at_least": float("nan")}}, "finite"),
        ({"task": {**MINIMAL["task"], "split": {"val": 0.6, "test": 0.6}}}, "below 1"),
        ({"probes": ["weight_norm", "weight_norm"]}, "once"),
    ],
)
def test_mistakes_are_named(keys, message):
    with pytest.raises(ConfigError, match=message):
        validate(changed(**keys))


def test_file_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match=r"cannot read the config .*no_such"):
        read_config(tmp_path / "no_such.yaml")


def test_file_that_holds_no_mapping(tmp_path):
    path = tmp_path / "list.yaml"
    path.write_text("- 1\n- 2\n")
    with pytest.raises(ConfigError, match="mapping"):
        read_config(path)


def test_override_reaches_every_depth():
    config = read_config(
        MINIMAL,
        [
            "steps=50",
            "tuning.seeds=1",
            "optimizers.0.learning_rate=[1e-1, 0.2]",
            "initializers.0.bias=ones",
            "model.hidden=[8]",
        ],
    )
    assert config.steps == 50
    assert config.tuning.seeds == 1
    assert config.optimizers[0].options["learning_rate"] == [0.1, 0.2]
    assert config.initializers[0].bias is not None
    assert config.initializers[0].bias.name == "ones"
    assert config.model.options == {"hidden": [8]}
    assert "steps" not in MINIMAL, "the source must stay as it was"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("steps", "--set takes key=value, got 'steps'"),
        ("=3", "--set takes key=value"),
        (
            "optimizers.7.learning_rate=1",
            r"'7' must be the position of an entry: 0 \(sgd\)",
        ),
        ("optimizers.gd.learning_rate=1", r"'gd' must be the position of an entry: 0 \(sgd\), 1"),
        ("probes.0=x", "there is no entry '0', for the list is empty"),
        (
            "steps=010",
            "the value in --set steps=010 .* write 10 for the number",
        ),
        ("optimizers.0.nesterov=yes", "yes is true to some .* write true, or 'yes' in quotes"),
        ("optimizers.0.only=*kernel", "begins with \\* is written in quotes"),
        ("model={<<: 3}", "<< merges a mapping"),
        ("optimizers.\u0661.eps=1", "must be the position of an entry"),
        ("optimizers.\u00b2.eps=1", "must be the position of an entry"),
        ("optimizers.-1.eps=1", "'-1' must be the position of an entry"),
        ("optimizers." + "9" * 5000 + "=1", "must be the position of an entry"),
        ("optimizers[0].eps=1", "is written with a dot: optimizers.0.eps"),
        ("tuning..seeds=1", "a key is missing between dots"),
        (".seeds=1", "a key is missing between dots"),
        ("tuning.=1", "a key is missing between dots"),
        ("name=? {a: 1}\n: 2", "^the value in --set name=. {a: 1} : 2 is not valid YAML"),
        ("task=" + "1" * 5000, r"has 5,000 digits"),
        ("a." * 500 + "b=1", "501 keys lie in one another"),
    ],
)
def test_override_mistakes_are_named(override, message):
    with pytest.raises(ConfigError, match=message):
        apply_override({"optimizers": [{"name": "sgd"}, "gd"], "probes": []}, override)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"a: \xff\xfe", r"it is not UTF-8 text \(byte 4, line 1\)"),
        ("steps: 3".encode("utf-16"), "it is not UTF-8 text"),
        (b"# " + b"x" * 2**21, "too long for a config"),
        (b"3", "a config is a mapping"),
        (None, "Is a directory"),
    ],
)
def test_a_file_that_is_no_config_is_told(tmp_path, content, said):
    file = tmp_path / "c.yaml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError, match=said):
        read_config(file if content is not None else tmp_path)


@pytest.mark.parametrize("path", ["a\0b.yaml", "x" * 5000, "~nouser/x.yaml", "/dev/zero"])
def test_a_path_of_no_config_is_told_in_one_short_line(path):
    with pytest.raises(ConfigError) as caught:
        read_config(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


def test_override_of_an_alias_changes_one_place_alone():
    text = "a: &entry {name: sgd, learning_rate: 1}\nb: *entry\nc: {<<: *entry}"
    raw = parse_yaml(text)
    apply_override(raw, "b.learning_rate=2")
    assert [raw[key]["learning_rate"] for key in "abc"] == [1, 2, 1]


def test_override_of_an_entry_that_python_shares_changes_one_place_alone():
    shared = {}
    entry = {"name": "sgd", "learning_rate": 0.1, "static": shared}
    source = MINIMAL | {"optimizers": [entry, entry | {"label": "again"}]}
    config = read_config(source, ["optimizers.0.static.nesterov=true"])
    assert [spec.static for spec in config.optimizers] == [{"nesterov": True}, {}]
    assert shared == {}


def test_override_of_an_unknown_key_is_refused():
    with pytest.raises(ConfigError, match="did you mean 'steps'"):
        read_config(MINIMAL, ["step=3"])


def test_differences_name_each_place():
    assert differences({"a": [1, 2], "b": 1}, {"a": [1, 3], "c": 2}) == [
        "a.1: 2 -> 3",
        "b: 1 -> None",
        "c: None -> 2",
    ]
    assert differences({"a": 1}, {"a": 1}) == []


def test_config_is_immutable():
    config: Config = validate(MINIMAL)
    with pytest.raises(ValueError, match="frozen"):
        config.steps = 3
