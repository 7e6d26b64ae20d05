"""Start, port and record of the page server, and the address of a page."""

import socket
import urllib.error
import urllib.request

import pytest
from page_requests import reports, send

from fastif import InputError
from flows.local_service import Service, stop_service
from flows.page_service import check_page_port, find_page_url, open_record, start_pages


def test_only_the_loopback_interface_listens(url):
    port = int(url.split(":")[2].split("/")[0])
    with pytest.raises(OSError):  # noqa: PT011  (also of this machine, an address of its own)
        socket.create_connection(("127.0.0.2", port), 2)


def test_a_link_leads_to_the_file_when_nothing_is_shown(url, world, monkeypatch, tmp_path):
    page = reports(world) / "one.html"
    assert find_page_url(page).startswith("http://127.0.0.1:")
    monkeypatch.setenv("FASTIF_HOME", str(tmp_path / "another"))
    assert find_page_url(page) == page.as_uri()
    assert not (tmp_path / "another").exists()


def test_the_port_is_stable_and_one_in_use_is_refused(world, monkeypatch, tmp_path):
    monkeypatch.setenv("FASTIF_HOME", str(tmp_path / "own"))
    study = world / "study.toml"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match="address already in use"):
            check_page_port(port)
        with pytest.raises(InputError, match=f"--pages-port {port}"):
            list(start_pages(study, port))
        assert not Service(tmp_path / "own", "").read_processes()
    try:
        (line,) = start_pages(study, port)
        address = open_record().read_address()
        assert address.port == port
        assert (line,) == tuple(start_pages(study)), "what is there is not started twice"
        with pytest.raises(InputError, match="fastif down"):
            check_page_port(port + 1)
        assert send(address.url)[0] == 200
        assert stop_service() == ["pages"]
        with pytest.raises(urllib.error.URLError):
            urllib.request.urlopen(address.url, timeout=5)
        assert find_page_url(reports(world) / "one.html").startswith("file:")
        (again,) = start_pages(study)
        assert again == line, "links stay valid"
        assert send(address.url)[0] == 200
    finally:
        stop_service()


def test_nothing_is_started_for_a_server_elsewhere(world, monkeypatch, tmp_path):
    monkeypatch.setenv("FASTIF_HOME", str(tmp_path / "own"))
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:1/api")
    assert list(start_pages(world / "study.toml")) == []
    assert not (tmp_path / "own").exists()


def test_a_record_that_another_hand_changed_is_left_out(url, world, home):
    """A file that names another folder than its key says shows nothing."""
    key = find_page_url(reports(world) / "one.html").split("/")[-2]
    wrong = home / "pages" / f"{key[::-1]}.folder"
    wrong.write_text(f"{world}\n")
    assert send(f"{url}{key[::-1]}/outside.html")[0] == 404
    wrong.write_bytes(b"\xff\xfe")
    assert send(url)[0] == 200
    wrong.unlink()
