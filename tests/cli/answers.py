"""Run commands, and read their output."""

import re

from mamlax import cli


def exits(arguments):
    """The exit status, whether it is returned or raised."""
    try:
        return cli.main(arguments)
    except SystemExit as exit:
        return exit.code


def words_of(text):
    """Text without the frames of boxes and the breaks of lines."""
    return re.sub(r"[\s│╭╮╰╯─]+", " ", text)


def flags_of(text):
    """The flags that a help text lists, "--help" included."""
    return set(re.findall(r"^[│ ] +(?:-h, )?(--[a-z][a-z-]*)", text, re.MULTILINE))
