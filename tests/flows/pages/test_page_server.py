"""The page server of `fastif up`, in its own process: what it shows, and what it never does."""

import json
import os
import socket
import threading
import urllib.request

import pytest
from handmade_runs import STUDY
from page_requests import SECRET, describe, make_page, reports, send

from flows.page_service import find_page_url
from storage.atomic import write_bytes


def test_the_index_leads_to_pages_and_shows_their_tests(url, world):
    index = urllib.request.urlopen(url, timeout=20).read().decode()
    page = urllib.request.urlopen(find_page_url(reports(world) / "one.html"), timeout=20)
    assert page.read() == (reports(world) / "one.html").read_bytes()
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert find_page_url(reports(world) / "one.html").removeprefix(url) in index
    assert '<li class="tile fail"><b>accuracy</b> <span class="status">FAIL</span>' in index
    assert f"<h2>{STUDY}</h2>" in index
    record = urllib.request.urlopen(find_page_url(reports(world) / "one.json"), timeout=20)
    assert json.load(record)["run"] == "one"


def test_nights_are_listed_newest_first_and_a_removed_page_is_gone(url, world):
    """Two further nights, and a page that an earlier version wrote."""
    for name, when, status in (("n1", "2099-01-01", "pass"), ("n2", "2099-01-02", "fail")):
        text = make_page(describe(name, f"{when}T02:00:00", ("leaks", status, "<b>0</b>")))
        (reports(world) / f"{name}.html").write_bytes(text)
    (reports(world) / "old.html").write_bytes(make_page(None))
    body = send(url)[2].decode()
    places = [body.index(f'.html">{name}</a>') for name in ("n2", "n1", "one", "old")]
    assert places == sorted(places)
    assert "&lt;b&gt;0&lt;/b&gt;" in body
    assert "by an earlier version" in body
    address = find_page_url(reports(world) / "n1.html")
    assert send(address)[0] == 200
    for name in ("n1", "n2", "old"):
        (reports(world) / f"{name}.html").unlink()
    assert send(address)[0] == 404
    assert ">n1</a>" not in send(url)[2].decode()


def test_only_reports_are_shown(url, world):
    folder = reports(world)
    files = {
        "notes.html": b"<!doctype html><title>Mine</title>" + SECRET,
        "train.csv": SECRET,
        "settings.json": b'{"secret": "' + SECRET + b'"}',
        "notes.md": b"# Notes\n" + SECRET,
        ".hidden.html": make_page(None, SECRET.decode()),
        "page.txt": make_page(None, SECRET.decode()),
    }
    for name, content in files.items():
        (folder / name).write_bytes(content)
    os.mkfifo(folder / "pipe.html")
    (folder / "folder.html").mkdir()
    (folder / "link.html").symlink_to(world / "outside.html")
    (folder / "self.html").symlink_to(folder / "one.html")
    index = send(url)[2].decode()
    base = find_page_url(folder / "one.html").removesuffix("one.html")
    for name in (*files, "pipe.html", "folder.html", "link.html", "self.html"):
        status, _, body = send(base + name)
        assert (status, SECRET in body) == (404, False), name
        assert name not in index
    for name in (*files, "pipe.html", "link.html", "self.html"):
        (folder / name).unlink()
    (folder / "folder.html").rmdir()
    assert send(base)[0] == 404, "no listing of a folder"


@pytest.mark.parametrize(
    "path",
    [
        "{key}/../outside.html",
        "{key}/..%2foutside.html",
        "{key}/%2e%2e/outside.html",
        "{key}/%2e%2e%2foutside.html",
        "{key}/%252e%252e%252foutside.html",
        "{key}/..\\outside.html",
        "{key}/..%5coutside.html",
        "{key}/./../outside.html",
        "{key}/../store/inside.html",
        "{key}/..%2fstore%2finside.html",
        "{key}/%2f{world}/outside.html",
        "{key}/{quoted}%2foutside.html",
        "{key}/one.html%00",
        "{key}/one.html/",
        "{key}//one.html",
        "{key}/%ff",
        "../{key}/one.html",
        "%2e%2e/outside.html",
        "..%2f..%2f..%2fetc%2fpasswd",
        "/etc/passwd",
        "{world}/outside.html",
        "0123456789ab/one.html",
        "..",
        "address.json",
    ],
)
def test_no_path_leads_out_of_the_folders(url, world, path):
    key = find_page_url(reports(world) / "one.html").split("/")[-2]
    quoted = str(world).replace("/", "%2f")
    token = url.split("/")[-2]
    full = f"/{token}/{path.format(key=key, world=world, quoted=quoted)}"
    status, _, body = send(url, full)
    assert status == 404
    assert body == b"There is no such page."
    assert send(url, f"http://127.0.0.1{full}")[0] == 404


def test_a_reports_folder_that_becomes_a_link_shows_nothing(url, tmp_path):
    folder, elsewhere = tmp_path / "reports", tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "page.html").write_bytes(make_page(None))
    address = find_page_url(folder / "page.html")
    assert send(address)[0] == 200
    folder.rename(elsewhere)
    assert send(address)[0] == 404
    folder.symlink_to(elsewhere)
    assert send(address)[0] == 404
    assert str(folder) not in send(url)[2].decode()


def test_who_does_not_know_the_token_sees_nothing(url, world, home):
    rest = find_page_url(reports(world) / "one.html").removeprefix(url)
    for path in ("/", f"/{rest}", f"/x/{rest}", "//", "/favicon.ico", "*"):
        assert send(url, path)[0] == 404
    status, headers, _ = send(url.removesuffix("/"))
    assert (status, headers["location"]) == (308, "/" + url.split("/", 3)[3])
    for path in (home / "pages").iterdir():
        assert path.stat().st_mode & 0o077 == 0
    assert home.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("127.0.0.1", 200),
        ("LOCALHOST:8888", 200),
        ("attacker.example", 421),
        ("attacker.example:4280", 421),
        ("127.0.0.1.attacker.example", 421),
        ("localhost.attacker.example:80", 421),
        ("127.0.0.1@attacker.example", 421),
        ("attacker.example:127.0.0.1", 421),
        ("0.0.0.0:4280", 421),
        ("[::1]:4280", 421),
        (":4280", 421),
    ],
)
def test_another_name_of_the_server_is_refused(url, host, status):
    """A page elsewhere whose name is made to lead to this machine sends its own name."""
    assert send(url, host=host)[0] == status


def test_a_request_without_a_name_or_with_two_is_refused(url):
    port = int(url.split(":")[2].split("/")[0])
    path = "/" + url.split("/", 3)[3]
    for lines in ("", "Host: 127.0.0.1\r\nHost: attacker.example\r\n"):
        with socket.create_connection(("127.0.0.1", port), 20) as connection:
            connection.sendall(f"GET {path} HTTP/1.1\r\n{lines}\r\n".encode())
            assert connection.makefile("rb").readline().split()[1] == b"421"


def test_every_answer_protects_the_page(url, world):
    page = find_page_url(reports(world) / "one.html")
    for address in (url, page, url + "nothing"):
        headers = send(address)[1]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cache-control"] == "no-store"
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert ("script-src" in policy) == (address == page)
        assert "python" not in headers["server"].lower()


def test_pages_are_read_only(url, world):
    page = find_page_url(reports(world) / "one.html")
    before = (reports(world) / "one.html").read_bytes()
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
        status, headers, _ = send(page, method=method)
        assert (status, headers["allow"]) == (405, "GET, HEAD")
    assert send(page, method="BREW")[0] == 501
    assert (reports(world) / "one.html").read_bytes() == before
    status, headers, body = send(page, method="HEAD")
    assert (status, body) == (200, b"")
    assert int(headers["content-length"]) == len(before)


def test_a_page_that_is_rebuilt_is_never_half_read(url, world):
    """Two versions of other lengths replace each other while they are read."""
    path = reports(world) / "night.html"
    versions = {make_page(None, mark * length) for mark, length in (("a", 10**6), ("b", 3 * 10**6))}
    address, is_done = find_page_url(path), threading.Event()

    def rebuild():
        while not is_done.is_set():
            for version in versions:
                write_bytes(path, version)

    write_bytes(path, next(iter(versions)))
    writer = threading.Thread(target=rebuild)
    writer.start()
    try:
        answers = [send(address) for _ in range(40)]
        while len({len(body) for _, _, body in answers}) < 2 and len(answers) < 1000:
            answers.append(send(address))
    finally:
        is_done.set()
        writer.join()
        path.unlink()
    assert {body for _, _, body in answers} <= versions
    assert len({len(body) for _, _, body in answers}) == 2, "both versions were read"
    assert all(int(headers["content-length"]) == len(body) for _, headers, body in answers)
