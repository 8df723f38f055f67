"""Functions of `selfwise` are found by name, also when every room has been imported."""

import pkgutil
from importlib import import_module
from types import ModuleType

import pytest

import selfwise
from selfwise import commands


@pytest.fixture(scope="module")
def everything_imported():
    for module in pkgutil.walk_packages(selfwise.__path__, "selfwise."):
        if not module.name.endswith("__main__"):
            import_module(module.name)


@pytest.mark.parametrize("name", commands.command_names())
def test_a_room_does_not_replace_a_command(everything_imported, name):
    """An imported submodule is an attribute of its package, and would be found first."""
    assert name in dir(selfwise)
    function = getattr(selfwise, name)
    assert callable(function)
    with pytest.raises((TypeError, ValueError), match=r"no_such_option|missing a required"):
        function(no_such_option=1)


@pytest.mark.parametrize("name", selfwise.PARTS)
def test_other_names_are_what_they_were(everything_imported, name):
    module, _, part = selfwise.PARTS[name].partition(":")
    found = getattr(selfwise, name)
    assert found is (getattr(import_module(module), part) if part else import_module(module))
    assert isinstance(found, ModuleType) == (not part)


def test_rooms_of_the_package_have_no_name_of_a_command():
    rooms = {module.name for module in pkgutil.iter_modules(selfwise.__path__)}
    assert not rooms & set(commands.command_names())
