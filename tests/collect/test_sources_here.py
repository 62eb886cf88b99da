"""The sources ``url`` and ``folder``, the registry, and the words that all sources share."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from irmsia.datasets.collect.engine import download
from irmsia.datasets.collect.protocol import Checksum, Collector, Filters, Wanted, check_path
from irmsia.datasets.collect.receipt import RECEIPTS, read_receipts
from irmsia.datasets.collect.registry import Context, list_sources, make_collector, register
from irmsia.datasets.collect.url import file_name
from irmsia.datasets.collect.web import Web
from irmsia.errors import AddressRefusedError, DatasetNotFoundError, InvalidRequestError, NotConfiguredError
from tests.collect import scripted
from tests.collect.scripted import serving
from tests.collect.wanting import digest, local_settings, local_web, noise, tree


def make(name: str, web: Web, home: Path, **options: str) -> Collector:
    """A source of the registry."""
    return make_collector(name, Context(web, web.settings, home, options))


def test_the_registry_finds_every_source_and_each_is_a_collector(tmp_path: Path) -> None:
    """A sweep: each entry makes a `Collector` of its own name, or says what it lacks."""
    names = [source.name for source in list_sources()]
    assert names == sorted(set(names)) and {"folder", "url"} <= set(names)
    with local_web() as web:
        for source in list_sources():
            if not source.is_available():
                assert source.otherwise
                continue
            made = source.make(Context(web, web.settings, tmp_path))
            assert isinstance(made, Collector) and made.name == source.name


def test_a_duplicate_name_raises_and_an_unknown_one_is_typed(tmp_path: Path) -> None:
    """Explicit names; none is taken twice."""
    with pytest.raises(ValueError, match="there already"):
        register("url", title="again")(lambda context: None)  # type: ignore[arg-type,return-value]
    with local_web() as web, pytest.raises(DatasetNotFoundError, match="folder"):
        make("nowhere", web, tmp_path)


def test_a_missing_library_says_how_to_get_it(tmp_path: Path) -> None:
    """`is_available` is asked before anything is made."""
    from irmsia.datasets.collect import registry

    register("lacking", title="x", is_available=lambda: False, otherwise="install it")(lambda context: None)  # type: ignore[arg-type,return-value]
    try:
        with local_web() as web, pytest.raises(NotConfiguredError, match="install it"):
            make("lacking", web, tmp_path)
    finally:
        del registry._sources["lacking"]


def test_addresses_become_one_plan(tmp_path: Path) -> None:
    """Several addresses, files of one name, a digest each: all come, and are unpacked where their names say archive."""
    archive = tmp_path / "made.zip"
    with zipfile.ZipFile(archive, "w") as made:
        made.writestr("in/x", b"inside")
    with serving() as server, local_web() as web:
        server.add("/a/set.csv", b"one")
        server.add("/b/set.csv", b"two")
        server.add("/s.zip", archive.read_bytes())
        collector = make("url", web, tmp_path)
        lines = [
            f"{server.url('/a/set.csv')}?sig=secret#sha256={digest(b'one')}",
            server.url("/b/set.csv"),
            server.url("/s.zip"),
        ]
        identity = "\n".join(lines)
        offer = collector.show(identity)
        assert offer.bytes == 6 + archive.stat().st_size and "secret" not in offer.id
        plan = collector.plan(identity)
        download(plan, tmp_path / "out", web)
    found = tree(tmp_path / "out")
    del found[RECEIPTS]
    assert found == {"set.csv": digest(b"one"), "2-set.csv": digest(b"two"), "s/in/x": digest(b"inside")}
    assert "secret" not in (tmp_path / "out" / RECEIPTS).read_text()


def test_an_address_that_does_not_know_head_still_has_an_offer(tmp_path: Path) -> None:
    """Its size is unknown then."""
    with serving() as server, local_web() as web:
        server.add("/x", b"x", faults=[scripted.status(405)])
        assert make("url", web, tmp_path).show(server.url("/x")).bytes is None


@pytest.mark.parametrize("identity", ["", "https://data.example.org/x#sha256=12", "https://data.example.org/x#part"])
def test_malformed_addresses_are_usage_errors(tmp_path: Path, identity: str) -> None:
    """Nothing is asked."""
    with local_web() as web, pytest.raises(InvalidRequestError):
        make("url", web, tmp_path).plan(identity)


def test_refused_addresses_are_refused_in_the_plan(tmp_path: Path) -> None:
    """Before anything is asked or made; filters that mean nothing are refused too."""
    with local_web() as web:
        collector = make("url", web, tmp_path)
        for call in (collector.plan, collector.show):
            with pytest.raises(AddressRefusedError):
                call("file:///etc/passwd")
        with pytest.raises(InvalidRequestError):
            collector.plan("https://data.example.org/x", Filters(modality="CT"))


@given(st.text(max_size=60))
def test_any_address_gives_a_name_that_can_be_used(text: str) -> None:
    """Law: the name of a file is a plain path part, whatever its address says."""
    from urllib.parse import quote

    name = file_name(f"https://data.example.org/{quote(text, safe='/%')}")
    check_path(name)
    assert "/" not in name


def make_folder(root: Path) -> None:
    """Two files, a hidden one, a link."""
    (root / "a").mkdir(parents=True)
    (root / "a" / "1.bin").write_bytes(noise(1, 1000))
    (root / "2.bin").write_bytes(noise(2, 10))
    (root / ".hidden").write_bytes(b"x")
    (root / "link").symlink_to("/etc/passwd")


@pytest.mark.parametrize("link", [False, True])
def test_a_folder_is_copied_or_linked_with_receipts(tmp_path: Path, link: bool) -> None:
    """Hidden files and links are left out and counted; a linked file is the same one, a copied one its own."""
    make_folder(tmp_path / "from")
    with local_web() as web:
        collector = make("folder", web, tmp_path, **({"link": "yes"} if link else {}))
        plan = collector.plan(str(tmp_path / "from"))
        assert plan.notes == ("left out 2 hidden files, links and what is no regular file",)
        assert (plan.bytes, collector.show(str(tmp_path / "from")).bytes) == (1010, 1010)
        for _ in range(2):
            download(plan, tmp_path / "to", web)
    found = tree(tmp_path / "to")
    del found[RECEIPTS]
    assert found == {"a/1.bin": digest(noise(1, 1000)), "2.bin": digest(noise(2, 10))}
    assert (tmp_path / "to" / "2.bin").samefile(tmp_path / "from" / "2.bin") is link
    assert {receipt.address for receipt in read_receipts(tmp_path / "to")} == {"folder"}
    assert str(tmp_path) not in (tmp_path / "to" / RECEIPTS).read_text()


def test_an_archive_of_this_machine_is_unpacked(tmp_path: Path) -> None:
    """The archive itself stays where it is."""
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as made:
        made.writestr("x", b"inside")
    with local_web() as web:
        download(make("folder", web, tmp_path).plan(str(tmp_path / "set.zip")), tmp_path / "to", web)
    assert set(tree(tmp_path / "to")) == {RECEIPTS, "set/x"}
    assert (tmp_path / "set.zip").exists()


def test_a_folder_that_is_not_there_is_typed(tmp_path: Path) -> None:
    """And filters are refused."""
    with local_web() as web:
        collector = make("folder", web, tmp_path)
        with pytest.raises(DatasetNotFoundError):
            collector.plan(str(tmp_path / "nowhere"))
        with pytest.raises(InvalidRequestError):
            collector.plan(str(tmp_path), Filters(max_patients=1))
        assert list(collector.list()) == list(collector.search("x")) == []


@pytest.mark.parametrize(
    "path",
    ["", "/a", "a/../b", "..", "a//b", "a/", "C:/x", "a\\b", "a\0b", "receipts.jsonl", ".irmsia-download/x", "x" * 300],
)
def test_paths_that_leave_the_folder_are_refused(path: str) -> None:
    """In files, in the folders of archives, in documents."""
    for make_wanted in (lambda: Wanted("https://x.org/", path), lambda: Wanted("https://x.org/", "a", unpack=path)):
        with pytest.raises(InvalidRequestError):
            make_wanted()


def test_what_is_wanted_is_checked_when_it_is_said() -> None:
    """Digests of their length, an address or a place, never both."""
    for make_one in (
        lambda: Checksum("md5", "12"),
        lambda: Checksum("crc32", "0" * 8),  # type: ignore[arg-type]
        lambda: Wanted("", "a"),
        lambda: Wanted("https://x.org/", "a", local=Path("/x")),
    ):
        with pytest.raises(InvalidRequestError):
            make_one()
    assert Checksum("md5", "A" * 32).hex == "a" * 32
    assert "secret" not in repr(Wanted("https://x.org/", "a", headers={"Authorization": "secret"}))
    assert local_settings().allow_loopback
