"""`--config FILE`: options of every command from a TOML file."""

from __future__ import annotations

import json

import pytest

from encoder.declare import OptionError
from pipelines import annotate, status
from pipelines.command_line import cli
from pipelines.command_line.config import expand_config
from pipelines.command_line.options import (
    annotate_parser,
    parse_annotate,
    parse_prune,
    parse_status,
    parse_verify,
    prune_parser,
)
from pipelines.models.options import parse_train_head, zero_shot_parser


@pytest.fixture
def config(tmp_path):
    """Give a function that writes a file of options and returns its name."""

    def write(text: str) -> str:
        (tmp_path / "job.toml").write_text(text)
        return str(tmp_path / "job.toml")

    return write


JOB = """
input = ["a/*.jsonl", "b"]
store = "my-store"
text_field = "body"
max_text_bytes = 1000
max_reject_share = 0.5
heads = ["topic", "mine"]
dry_run = true
progress = false

[verify]
input = "c"

[train-head]
output = "head"

[beam]
runner = "FlinkRunner"
direct_num_workers = 2
streaming = true
save_main_session = false
experiments = ["a", "b"]
"""


def test_options_are_read_from_the_file(config):
    options = parse_annotate(["--config", config(JOB)], "annotate")
    assert options.input == ("a/*.jsonl", "b")
    assert options.store.endswith("/my-store")
    assert options.reading.text_field == ("body",)
    assert (options.reading.max_text_bytes, options.max_reject_share) == (1000, 0.5)
    assert options.heads == ("topic", "mine")
    assert (options.dry_run, options.progress, options.prune) == (True, False, False)
    assert options.beam_args == (
        "--runner=FlinkRunner", "--direct_num_workers=2", "--streaming", "--experiments=a", "--experiments=b",
    )  # fmt: skip


def test_the_command_line_takes_precedence_and_its_lists_replace_those_of_the_file(config):
    path = config(JOB)
    options = parse_annotate(
        ["--input", "x", f"--config={path}", "--text_field=t", "--heads", "none", "--runner=direct"], "annotate"
    )
    assert (options.input, options.reading.text_field, options.heads) == (("x",), ("t",), ("none",))
    assert options.reading.max_text_bytes == 1000
    assert "--runner=FlinkRunner" not in options.beam_args


def test_a_command_takes_its_own_options_and_its_table_alone(config):
    path = config(JOB)
    assert parse_status(["--config", path]).store == "my-store"
    assert parse_verify(["--config", path]).input == ("c",)
    pruned = parse_prune(["--config", path])
    assert (pruned.input, pruned.dry_run) == (("a/*.jsonl", "b"), True)
    head = parse_train_head(["--config", path, "--name", "n", "--train", "t", "--validation", "v"])
    assert (head.output, head.text_field) == ("head", "body")
    assert "--runner=FlinkRunner" not in expand_config(["--config", path], zero_shot_parser())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("text_feild = 'a'", "unknown key 'text_feild' in {}; did you mean text_field?"),
        ("[anotate]\nstore = 'a'", "unknown key 'anotate' in {}; did you mean annotate?"),
        (
            "[annotate]\nlabel_field = 'a'",
            "unknown key 'label_field' in [annotate] in {}; encode-once annotate --help lists",
        ),
        (
            "runner = 'direct'",
            "unknown key 'runner' in {}; encode-once annotate --help lists the options; those of Beam "
            "belong in a table [beam]",
        ),
        ("config = 'other'", "unknown key 'config' in {}"),
        ("store = ['a', 'b']", "store in {} takes one value, not a list"),
        ("store = true", "store in {} must be text or a number, not true"),
        ("heads = [['a']]", "heads in {} must be text or a number, not a list"),
        ("store = {a = 1}", "store in {} must be text or a number, not a table"),
        ("dry_run = 'yes'", "dry_run in {} must be true or false, not 'yes'"),
        ("[beam]\ndry_run = true", "dry_run in [beam] in {} is an option of encode-once; write it above the tables"),
        ("[beam]\na = {b = 1}", "a in [beam] in {} must be text, a number, or a list of these"),
        ("store = ", "--config {} is not TOML: "),
    ],
)
def test_a_mistake_in_the_file_is_one_line(config, text, message):
    path = config(text)
    with pytest.raises(OptionError) as raised:
        expand_config(["--config", path], annotate_parser())
    assert message.format(path) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_missing_file_is_one_line(tmp_path, capsys):
    assert cli.main(["status", "--config", str(tmp_path / "none.toml")]) == 2
    assert f"--config {tmp_path}/none.toml cannot be read: No such file" in capsys.readouterr().err
    for arguments in (["--config"], ["--config", "--store"], ["--config="], ["--config", "a", "--config", "b"]):
        with pytest.raises(OptionError, match="--config"):
            expand_config(arguments, prune_parser())


def test_a_value_out_of_bounds_is_reported_as_on_the_command_line(config):
    with pytest.raises(OptionError, match="--max_reject_share must be at least 0 and at most 1, not 2"):
        parse_annotate(["--config", config(JOB.replace("0.5", "2.0"))], "annotate")


def test_numbers_below_zero_and_switches_are_passed_on(config):
    path = config("layers = [-3, -1]\nno_progress = true\ndelimiter = '-'")
    assert expand_config(["--config", path], annotate_parser()) == ["--no_progress", "--delimiter=-"]
    assert expand_config(["--config", path], cli.parser_of("make-encoder")) == ["--layers", "-3", "-1"]


def test_every_command_but_completion_has_the_option():
    assert {command for command in cli.COMMANDS if "--config" in cli.parser_of(command)._option_string_actions} == (
        set(cli.COMMANDS) - {"completion"}
    )


def test_a_run_from_a_file_records_its_options(config, tmp_path, tiny_bundle):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_text("good\nbad\n")
    store = tmp_path / "store"
    path = config(
        f"input = '{tmp_path}/in'\nstore = '{store}'\nencoder = '{tiny_bundle}'\nheads = 'none'\nprogress = false\n"
    )
    assert annotate.run(["--config", path]).documents == 2
    (record,) = store.glob("runs/*/run.json")
    assert f"--store={store}" in json.loads(record.read_text())["arguments"]
    assert status.run(["--config", path])[0].documents == 2
