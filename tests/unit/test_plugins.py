"""The plugin host, with real plugins: modules and distributions written to disk and found by entry point."""

from __future__ import annotations

import io
import itertools
import os
import sys
from importlib.metadata import EntryPoint, distributions

import attrs
import pytest

from hal_core.config.configuration import Configuration
from hal_core.config.schema import EngineSection
from hal_core.configured import check_options
from hal_core.errors import InvalidInput, NotFound, PluginError, UserError
from hal_core.models.node import Cluster, Node, NodeName
from hal_core.models.plugin import Pin, PluginStatus
from hal_core.plugin_files import digest_of
from hal_core.plugins import Plugins
from hal_core.testing.trials import entry_points_of

HEADER = "from hal_core import PluginInfo, hookimpl\n__hal_plugin__ = PluginInfo(sdk=1, summary='for a test')\n"
ENGINE = """
class Nothing:
    def __init__(self, options): self.options = options
    def plan(self, snapshot): return None

@hookimpl
def hal_register_engines(register):
    register({name!r}, Nothing, "plans nothing")
"""
NUMBERS = itertools.count()


class Site:
    """A directory of installed distributions, as pip would leave it."""

    def __init__(self, path):
        self.path = path

    def install(self, plugin: str, source: str, distribution: str = "") -> None:
        module = f"hal_test_plugin_{next(NUMBERS)}"
        (self.path / f"{module}.py").write_text(source)
        distribution = distribution or f"dist-{plugin}"
        info = self.path / f"{distribution.replace('-', '_')}-1.5.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.5\n")
        (info / "entry_points.txt").write_text(f"[hal]\n{plugin} = {module}\n")

    def found(self) -> list[EntryPoint]:
        return [each for dist in distributions(path=[str(self.path)]) for each in dist.entry_points]

    def load(self, environment=None, trace_to=None, pins=None) -> Plugins:
        return Plugins.load(environment or {}, self.found(), trace_to, pins)


@pytest.fixture
def site(tmp_path):
    sys.path.insert(0, str(tmp_path))
    yield Site(tmp_path)
    sys.path.remove(str(tmp_path))


def test_a_plugin_registers_and_its_factory_gets_the_options(site):
    site.install("example", HEADER + ENGINE.format(name="nothing"))
    plugins = site.load()
    assert plugins.names("engine") == ("nothing",)
    assert plugins.engine("nothing", {"depth": 3}).options == {"depth": 3}
    (listing,) = plugins.listing()
    assert (listing.name, listing.distribution, listing.version) == ("example", "dist-example", "1.5")
    assert listing.status is PluginStatus.LOADED
    assert [(each.plane, each.name, each.summary) for each in listing.provides] == [
        ("engine", "nothing", "plans nothing")
    ]


def test_an_unknown_name_says_what_is_installed_and_what_is_broken(site):
    site.install("example", HEADER + ENGINE.format(name="backfill"))
    site.install("bad", "raise RuntimeError('no licence server')")
    with pytest.raises(NotFound) as caught:
        site.load().engine("backfil")
    text = str(caught.value)
    assert text.startswith("no engine named 'backfil'; installed: backfill (did you mean 'backfill'?)")
    assert "plugin 'bad' is broken: RuntimeError: no licence server" in text


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import no_such_module_anywhere", "No module named 'no_such_module_anywhere'"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("class Odd(BaseException): pass\nraise Odd('odd')", "Odd: odd"),
        ("def broken(:", "SyntaxError"),
        ("", "does not say for which SDK it was written: add __hal_plugin__ = hal_core.PluginInfo(sdk=1"),
        (HEADER.replace("sdk=1", "sdk=99"), "written for SDK version 99; this HAL has version 1"),
        (HEADER + "@hookimpl\ndef hal_register_engine(register): pass", "hal_register_engine"),
        (HEADER + "@hookimpl\ndef hal_register_engines(register, application): pass", "application"),
        (HEADER + "@hookimpl\ndef hal_register_engines(register): raise SystemExit('bye')", "SystemExit: bye"),
        (HEADER + "@hookimpl\ndef hal_register_engines(register): register('', print)", "printable text, not ''"),
        (HEADER + "@hookimpl\ndef hal_register_engines(register): register('x', 5)", "must be callable, not 5"),
        (
            HEADER + "@hookimpl\ndef hal_register_engines(register): [register('x', print) for _ in range(2)]",
            "plugin 'bad' registers engine 'x' twice",
        ),
    ],
)
def test_a_broken_plugin_is_listed_with_its_reason_and_the_others_work(site, source, reason):
    site.install("bad", source)
    site.install("good", HEADER + ENGINE.format(name="nothing"))
    plugins = site.load()
    bad, good = plugins.listing()
    assert bad.status is PluginStatus.BROKEN
    assert reason in bad.reason
    assert bad.provides == ()
    assert good.status is PluginStatus.LOADED
    assert plugins.names("engine") == ("nothing",)


def test_a_plugin_that_fails_half_way_has_registered_nothing(site):
    late = "@hookimpl\ndef hal_register_observers(register): raise ValueError('late')\n"
    site.install("bad", HEADER + ENGINE.format(name="nothing") + late)
    assert site.load().names("engine") == ()


def test_a_name_that_two_plugins_register_belongs_to_neither_until_one_is_disabled(site):
    site.install("one", HEADER + ENGINE.format(name="fifo"))
    site.install("two", HEADER + ENGINE.format(name="fifo"))
    plugins = site.load()
    assert plugins.names("engine") == ()
    with pytest.raises(PluginError, match="engine 'fifo' is registered by 'one' and 'two': disable one"):
        plugins.engine("fifo")
    assert all("registered by 'one' and 'two'" in each.reason for each in plugins.listing())
    assert site.load({"HAL_DISABLED_PLUGINS": "two"}).names("engine") == ("fifo",)


def test_two_distributions_with_one_plugin_name_are_both_refused_by_name(site):
    site.install("same", HEADER + ENGINE.format(name="a"), "dist-one")
    site.install("same", HEADER + ENGINE.format(name="b"), "dist-two")
    plugins = site.load()
    assert plugins.names("engine") == ()
    assert all("dist-one" in each.reason and "dist-two" in each.reason for each in plugins.listing())


def test_a_plugin_found_twice_is_one_plugin(site):
    site.install("example", HEADER + ENGINE.format(name="nothing"))
    plugins = Plugins.load({}, site.found() + site.found())
    assert len(plugins.listing()) == 1
    assert plugins.names("engine") == ("nothing",)


def test_a_disabled_plugin_is_not_even_imported(site):
    site.install("bad", "raise RuntimeError('imported')")
    (listing,) = site.load({"HAL_DISABLED_PLUGINS": "other, bad"}).listing()
    assert listing.status is PluginStatus.DISABLED
    assert listing.reason == "HAL_DISABLED_PLUGINS"


def test_the_order_of_discovery_decides_nothing(site):
    for plugin, name in [("one", "fifo"), ("two", "fifo"), ("three", "backfill")]:
        site.install(plugin, HEADER + ENGINE.format(name=name))
    found = site.found()
    listings = {Plugins.load({}, order).listing() for order in itertools.permutations(found)}
    assert len(listings) == 1


@pytest.mark.parametrize(
    ("factory", "kind", "text"),
    [
        ("def make(options): raise ValueError('boom')", PluginError, "failed to make engine 'x': ValueError: boom"),
        ("def make(options): raise SystemExit(1)", PluginError, "failed to make engine 'x': SystemExit: 1"),
        ("def make(options): return object()", PluginError, "is a object without ['plan']"),
        ("from hal_core import Refused\ndef make(options): raise Refused('no depth')", UserError, "no depth"),
    ],
)
def test_a_factory_that_fails_is_told_apart_from_a_user_mistake(site, factory, kind, text):
    hook = "\n@hookimpl\ndef hal_register_engines(register): register('x', make)\n"
    site.install("bad", HEADER + factory + hook)
    with pytest.raises(kind) as caught:
        site.load().engine("x")
    assert text in str(caught.value)


def test_options_can_be_held_against_their_class_without_making_anything(site):
    source = """
import attrs

@attrs.frozen
class Depth:
    depth: int = 1

def make(options): raise AssertionError("made")
def broken(): raise ImportError("no such library")

@hookimpl
def hal_register_observers(register):
    register("says", make, options=lambda: Depth)
    register("does not", make)
    register("cannot", make, options=broken)
"""
    site.install("example", HEADER + source)
    plugins = site.load()
    assert [field.name for field in attrs.fields(plugins.options_class("observer", "says"))] == ["depth"]
    assert plugins.options_class("observer", "does not") is None
    text = "plugin 'example' failed to say the options of observer 'cannot': ImportError: no such library"
    with pytest.raises(PluginError, match=text):
        plugins.options_class("observer", "cannot")


@pytest.mark.parametrize("options", ["Depth", "lambda: Depth()", "lambda: dict", "lambda: None", "5"])
def test_options_that_are_no_attrs_class_are_the_plugins_mistake(site, options):
    hooks = "".join(
        f"@hookimpl\ndef hal_register_{plane}s(register): register('x', make, options={options})\n"
        for plane in ("executor", "observer", "cloud")
    )
    depth = "import attrs\n@attrs.frozen\nclass Depth:\n    depth: int = 1\ndef make(options): pass\n"
    site.install("example", HEADER + ENGINE.format(name="nothing") + depth + hooks)
    plugins = site.load()
    cluster = Cluster("lab", (Node(NodeName("n1"), 4, 2**30),), ())
    chosen = {"x": {"depht": 2}}
    engine = EngineSection("nothing")
    configuration = Configuration(cluster, engine=engine, executors=chosen, observers=chosen, clouds=chosen)
    with pytest.raises(InvalidInput) as caught:
        check_options(configuration, plugins)
    assert [each.place for each in caught.value.problems] == ["executors.x", "observers.x", "clouds.x"]
    assert all("plugin 'example'" in each.text for each in caught.value.problems)


@pytest.mark.parametrize("plane", ["executor", "observer", "cloud"])
def test_all_plugins_of_hal_say_what_options_they_have(plane):
    plugins = Plugins.load({})
    assert plugins.names(plane)
    for name in plugins.names(plane):
        options = plugins.options_class(plane, name)
        assert options is not None, f"{plane} {name}: register it with its options"
        assert attrs.has(options)


def test_calls_can_be_traced(site):
    site.install("example", HEADER + ENGINE.format(name="nothing"))
    written = io.StringIO()
    site.load({"HAL_TRACE_PLUGINS": "1"}, written)
    assert "example hal_register_engines(register)" in written.getvalue()
    assert "example registered engine 'nothing'" in written.getvalue()
    quiet = io.StringIO()
    site.load({"HAL_TRACE_PLUGINS": "0"}, quiet)
    assert quiet.getvalue() == ""


def test_what_is_not_pinned_is_not_even_imported(site):
    site.install("bad", "raise RuntimeError('imported')")
    site.install("good", HEADER + ENGINE.format(name="nothing"))
    plugins = site.load(pins={"good": Pin("1.5")})
    assert plugins.names("engine") == ("nothing",)
    bad, _ = plugins.listing()
    assert (bad.status, bad.reason) == (PluginStatus.DISABLED, "not named under `plugins` in the configuration")


def test_a_plugin_that_is_not_what_was_pinned_is_not_even_imported(site):
    site.install("example", "raise RuntimeError('imported')")
    other_version = (Pin("1.4"), "version 1.5 is installed; 1.4 is pinned")
    for pin, reason in (other_version, (Pin(sha256="0" * 64), "its files have the digest ")):
        plugins = site.load(pins={"example": pin})
        (listing,) = plugins.listing()
        assert listing.status is PluginStatus.BROKEN
        assert listing.reason.startswith(reason)
        assert plugins.installed().why_not == {"example": listing.reason}


def test_a_digest_is_of_every_file_and_its_name(site):
    package = site.path / f"hal_test_package_{next(NUMBERS)}"
    package.mkdir()
    (package / "__init__.py").write_text(HEADER + ENGINE.format(name="nothing"))
    (package / "data.txt").write_text("1")
    entry_point = EntryPoint("whole", package.name, "hal")
    pin = Pin(sha256=digest_of(entry_point))
    load = lambda: Plugins.load({}, [entry_point], pins={"whole": pin}).names("engine")  # noqa: E731
    assert load() == ("nothing",)
    assert load() == ("nothing",), "what Python keeps beside it while it is loaded does not count"
    (package / "data.txt").write_text("2")
    assert load() == ()
    (package / "data.txt").write_text("1")
    assert load() == ("nothing",)
    (package / "data.txt").rename(package / "date.txt")
    assert load() == ()


@pytest.mark.parametrize("where", ["file", "site"])
def test_a_plugin_that_everybody_may_change_is_not_even_imported(site, where):
    site.install("bad", "raise RuntimeError('imported')")
    (module,) = site.path.glob("*.py")
    path = {"file": module, "site": site.path}[where]
    path.chmod(0o777)
    (listing,) = site.load().listing()
    assert listing.status is PluginStatus.BROKEN
    assert listing.reason == f"every user may change {path}; run: chmod o-w {path}"
    path.chmod(0o770)
    os.chown(path, -1, 4711 if os.geteuid() == 0 else os.getegid())
    (listing,) = site.load().listing()
    if os.geteuid() == 0:
        assert listing.reason == f"the group 4711 may change {path}; run: chmod g-w {path}"
        path.chmod(0o700)
        os.chown(path, 4711, -1)
        (listing,) = site.load().listing()
        assert listing.reason == f"{path} belongs to uid 4711, who owns nothing else of HAL; let root own it"


def test_a_folder_that_is_not_there_is_told_as_one() -> None:
    with pytest.raises(AssertionError, match=r"no pyproject.toml in './nosuch'; give a plugin's folder or its name"):
        entry_points_of("./nosuch")
