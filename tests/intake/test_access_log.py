"""Lines of a web server's log as page views. Every line here is made by hand."""

from __future__ import annotations

import contextlib
import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from tests.kit.waits import effort
from worker.cli.convert import convert
from worker.intake.access_log import AccessLog, VisitorBy, is_machine, is_page
from worker.intake.log_formats import FORMATS, Malformed, detected, instant

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
CRAWLER = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"


def a_line(
    target: str = "/blog/decay",
    *,
    time: str = "17/May/2026:10:05:03 +0000",
    address: str = "192.0.2.7",
    method: str = "GET",
    status: int = 200,
    referrer: str = "-",
    agent: str = FIREFOX,
) -> bytes:
    """Return one line of a log in the combined format."""
    return f'{address} - - [{time}] "{method} {target} HTTP/1.1" {status} 5120 "{referrer}" "{agent}"\n'.encode()


def events(*log: bytes, site: str = "https://docs.example", salt: str = "") -> list[dict[str, Any]]:
    """Return what these lines become."""
    converter = AccessLog(site, salt)
    return [json.loads(event) for line in log if (event := converter.convert(line)) is not None]


def test_a_page_view_carries_what_the_contract_names() -> None:
    """One line, whole: a change of any field's name shows here."""
    (event,) = events(
        a_line(
            "/blog/decay?utm_source=news&utm_medium=email&x=1",
            referrer="https://search.example/?q=lead",
            time="17/May/2026:10:05:03 +0200",
        )
    )
    visitor = event["subject"]
    assert visitor.startswith("visitor:")
    assert event == {
        "specversion": "1.0",
        "id": event["id"],
        "source": "https://docs.example",
        "type": "page.viewed",
        "subject": visitor,
        "time": "2026-05-17T08:05:03Z",
        "data": {
            "url": "https://docs.example/blog/decay?utm_source=news&utm_medium=email&x=1",
            "session_id": event["data"]["session_id"],
            "referrer": "https://search.example/?q=lead",
            "utm": {"source": "news", "medium": "email"},
        },
    }


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "/blog",
        "/blog/decay.html",
        "/docs/v1.2",
        "/release-1.0.0/",
        "/index.php?id=3",
        "/a.b/c",
        "/feeds-of-sheep",
        "https://docs.example/x",
    ],
)
def test_pages_are_pages(target: str) -> None:
    """Paths without a file extension, documents and server scripts."""
    assert is_page(target)


@pytest.mark.parametrize(
    "target",
    [
        "/logo.png",
        "/a.css?v=3",
        "/app.JS",
        "/font.woff2",
        "/favicon.ico",
        "/paper.pdf",
        "/robots.txt",
        "/sitemap.xml",
        "/feed",
        "/blog/feed/",
        *["/?flav=rss20", "/blog?page=1&feed=atom", "/rss", "*", "example.com:443"],
    ],
)
def test_what_people_do_not_read_is_no_page(target: str) -> None:
    """Each asset counted as a page would multiply a visit."""
    assert not is_page(target)


@pytest.mark.parametrize("change", [{"method": "POST"}, {"method": "HEAD"}, {"status": 404}, {"status": 301}, {"status": 206}])
def test_only_pages_that_were_shown_count(change: dict[str, Any]) -> None:
    """A redirect, an error, a part of a file or a form's answer shows no page."""
    assert events(a_line(**change)) == []
    assert len(events(a_line(status=304))) == 1, "a page the browser had kept was shown all the same"


@pytest.mark.parametrize("request_text", ["-", "", r"\x16\x03\x01", "GET / HTTP/1.1 x y"])
def test_a_request_that_is_no_http_is_passed_over_not_malformed(request_text: str) -> None:
    """Scanners speak TLS to port 80; the server logs it well, so the log is not to blame."""
    assert events(a_line().replace(b"GET /blog/decay HTTP/1.1", request_text.encode())) == []


def test_crawlers_scripts_and_the_nameless_are_machines() -> None:
    """They are kept, marked: the grid's formulas give them nothing, and the count stays visible."""
    seen = events(a_line(), a_line(agent=CRAWLER), a_line(agent="-"), a_line(agent=""), a_line(agent="python-requests/2.32"))
    assert [e["data"].get("machine", False) for e in seen] == [False, True, True, True, True]
    assert not is_machine(
        "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 Version/18.0 Mobile/15E148 Safari/604.1"
    )


def test_half_an_hour_of_silence_ends_a_session() -> None:
    """At thirty minutes it is still the same session, a second later it is another."""
    times = ["10:00:00", "10:30:00", "11:00:00", "11:30:01"]
    ids = [e["data"]["session_id"] for e in events(*(a_line(time=f"17/May/2026:{t} +0000") for t in times))]
    assert ids[0] == ids[1] == ids[2] != ids[3]


def test_a_line_a_little_late_stays_in_its_session() -> None:
    """Servers log when they have answered, so a slow page comes after a quick one asked for later."""
    times = ["10:00:30", "10:00:10", "10:30:20"]
    ids = {e["data"]["session_id"] for e in events(*(a_line(time=f"17/May/2026:{t} +0000") for t in times))}
    assert len(ids) == 1


def test_visitors_are_told_by_address_and_user_agent_and_hidden_by_the_salt() -> None:
    """A salted id cannot be computed from an address by somebody who has not got the salt."""
    log = [a_line(), a_line(address="192.0.2.8"), a_line(agent=FIREFOX + " x"), a_line("/other")]
    subjects = [e["subject"] for e in events(*log)]
    assert len(set(subjects)) == 3
    assert subjects[0] == subjects[3]
    assert subjects[0] not in {e["subject"] for e in events(*log, salt="pepper")}


def test_the_same_log_gives_the_same_ids_and_twin_lines_stay_two_events() -> None:
    """A log sent twice must count once, and two equal requests in one second are two page views."""
    log = [a_line(), a_line(), a_line("/other"), a_line()]
    ids = [e["id"] for e in events(*log)]
    assert len(set(ids)) == 4
    assert ids == [e["id"] for e in events(*log)]


def test_escapes_are_undone() -> None:
    r"""Apache writes a quote as \", both servers write odd bytes as \\xhh."""
    (event,) = events(a_line(r"/caf\xc3\xa9", agent=r"Mozilla/5.0 (X11) \"odd\" Firefox/140.0"))
    assert event["data"]["url"] == "https://docs.example/café"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"\n", "empty line"),
        (b'192.0.2.7 - - [17/May/2026:10:05:03 +0000] "GET / HTTP/1.1" 200 1\n', "common log format"),
        (a_line(time="31/Feb/2026:10:05:03 +0000"), "31/Feb/2026"),
        (a_line(time="2026-05-17T10:05:03Z"), "17/May/2015"),
        (a_line(time="17/May/2026:10:05:03 +9900"), "+9900"),
        (b"\x00\xff\xfe", "ADDRESS"),
        (b"x" * 70_000, "longer than 65,536 bytes"),
    ],
)
def test_a_malformed_line_says_what_is_wrong(line: bytes, reason: str) -> None:
    """The message is all that the person who mends the log format has."""
    converter = AccessLog()
    with pytest.raises(Malformed, match=reason.replace("+", r"\+")):
        converter.convert(line)
    assert (converter.summary.lines, converter.summary.malformed) == (1, 1)


@given(st.binary(max_size=300))
def test_no_bytes_at_all_break_it(line: bytes) -> None:
    """Whatever a log holds is a page view, no page view, or `Malformed`."""
    try:
        AccessLog().convert(line)
    except Malformed:
        return


def test_a_hostile_line_costs_no_time() -> None:
    """Whoever can write a request can write a line; matching must stay linear in its length."""
    lines = (b"1.1.1.1 - - [" + b" [" * 30_000, a_line(agent='x\\"' * 15_000), b"x " * 30_000, b"1 - " + b" [a] " * 12_000)

    def convert() -> None:
        for line in lines:
            with contextlib.suppress(Malformed):
                AccessLog().convert(line)

    assert effort(convert) < 50


def test_offsets_are_respected() -> None:
    """Ten o'clock in Paris in summer is eight o'clock in UTC; a leap second is the last second of its minute."""
    assert (
        instant("17/May/2026:10:05:03 +0200") == instant("17/May/2026:08:05:03 +0000") == instant("17/May/2026:03:35:03 -0430")
    )
    assert instant("30/Jun/2015:23:59:60 +0000") == instant("30/Jun/2015:23:59:59 +0000")


def test_the_command_reads_plain_and_gzipped_files_and_stdin_in_their_order(tmp_path: Path) -> None:
    """Gzip is told by its first bytes: rotated logs carry all kinds of names."""
    early, late = a_line("/one"), a_line("/two", time="17/May/2026:10:05:02 +0000")
    (tmp_path / "a.log").write_bytes(early)
    (tmp_path / "b.log").write_bytes(gzip.compress(late))
    result = CliRunner().invoke(
        convert, ["access-log", str(tmp_path / "a.log"), str(tmp_path / "b.log"), "-"], input=a_line("/three")
    )
    assert result.exit_code == 0, result.stderr
    assert [json.loads(line)["data"]["url"] for line in result.stdout.splitlines()] == ["/one", "/two", "/three"]
    assert "3 lines, 0 malformed; 3 page views by 1 visitors in 1 sessions" in result.stderr


def test_malformed_lines_are_named_and_strict_stops_at_the_first(tmp_path: Path) -> None:
    """File and line number lead to the line; without --strict the rest is converted."""
    log = tmp_path / "access.log"
    log.write_bytes(a_line("/one") + b"nonsense\n" + a_line("/two"))  # most lines are in one format
    lenient = CliRunner().invoke(convert, ["access-log", str(log)])
    assert (lenient.exit_code, len(lenient.stdout.splitlines())) == (0, 2)
    assert f"{log}:2: not like" in lenient.stderr
    strict = CliRunner().invoke(convert, ["access-log", "--strict", str(log)])
    assert (strict.exit_code, len(strict.stdout.splitlines())) == (1, 1)
    assert f"{log}:2: not like" in strict.stderr


def test_a_log_of_another_format_fails(tmp_path: Path) -> None:
    """Nothing converted and exit 0 would look like a quiet day."""
    (tmp_path / "syslog").write_bytes(b"May 17 host sshd[1]: hello\n" * 150)
    result = CliRunner().invoke(convert, ["access-log", str(tmp_path / "syslog")])
    assert result.exit_code == 1
    assert "syslog: its format is not certain: its first line is not like ADDRESS" in result.stderr
    assert "--format combined|vhost|common|json|traefik" in result.stderr
    result = CliRunner().invoke(convert, ["access-log", "--format", "combined", str(tmp_path / "syslog")])
    assert result.exit_code == 1
    assert "no line is in the combined log format" in result.stderr
    assert len(result.stderr.splitlines()) < 110, "a wrong file must not flood the terminal"


def test_a_cut_gzip_is_named(tmp_path: Path) -> None:
    """A copy that broke off is an error of that file, not a stack of Python."""
    (tmp_path / "cut.gz").write_bytes(gzip.compress(a_line() * 100)[:-20])
    result = CliRunner().invoke(convert, ["access-log", str(tmp_path / "cut.gz")])
    assert result.exit_code == 1
    assert "cut.gz: " in result.stderr


VHOST = b"www.example.com:443 "
TRAEFIK = b' 17 "web@docker" "http://10.0.0.2:80" 3ms'
NGINX_JSON = {
    "time_iso8601": "2026-05-17T10:05:03+02:00",
    "remote_addr": "192.0.2.7",
    "request": "GET /blog/decay HTTP/2.0",
    "status": "200",
    "http_referer": "",
    "http_user_agent": FIREFOX,
    "http_x_forwarded_for": "198.51.100.4, 192.0.2.7",
    "cookie_vid": "abc",
}
CADDY_JSON = {
    "level": "info",
    "ts": 1779012303.25,
    "request": {
        "remote_ip": "192.0.2.7",
        "client_ip": "198.51.100.4",
        "method": "GET",
        "host": "docs.example",
        "uri": "/blog/decay",
        "headers": {"User-Agent": [FIREFOX], "Referer": ["https://search.example/"]},
    },
    "status": 200,
}
TRAEFIK_JSON = {
    "ClientHost": "192.0.2.7",
    "StartUTC": "2026-05-17T10:05:03.123456789Z",
    "RequestMethod": "GET",
    "RequestPath": "/blog/decay",
    "RequestHost": "docs.example",
    "DownstreamStatus": 200,
    "request_User-Agent": FIREFOX,
}


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("combined", a_line()),
        ("combined", a_line(address="2001:db8::7")),
        ("combined", a_line(address="client.example.net")),
        ("combined", a_line().rstrip() + b' "198.51.100.4"'),
        ("vhost", VHOST + a_line()),
        ("vhost", b"www.example.com " + a_line()),
        ("vhost", b"[2001:db8::1]:80 " + a_line(address="2001:db8::7")),
        ("common", b'192.0.2.7 - - [17/May/2026:10:05:03 +0000] "GET / HTTP/1.1" 200 1'),
        ("traefik", a_line().rstrip() + TRAEFIK),
        ("json", json.dumps(NGINX_JSON).encode()),
        ("json", json.dumps(CADDY_JSON).encode()),
        ("json", json.dumps(TRAEFIK_JSON).encode()),
        (None, b"May 17 host sshd[1]: hello"),
        (None, b'{"msg": "hello"}'),
        (None, b'example.com:443 - - [17/May/2026:10:05:03 +0000] "GET / HTTP/1.1" 200 1 "-" "x"'),
        (None, b""),
    ],
)
def test_a_log_s_format_is_told_by_its_first_lines(name: str | None, line: bytes) -> None:
    """And what is in none of them is not guessed."""
    assert detected([line + b"\n"] * 3) == name
    if name is not None:
        assert FORMATS[name](line.rstrip()).method == "GET"


def test_a_host_before_the_address_is_never_taken_for_an_address() -> None:
    """By Debian's virtual-host format, everybody with one browser was one visitor: the columns had shifted by one."""
    log = AccessLog()
    with pytest.raises(Malformed, match="virtual-host format"):
        log.convert(VHOST + a_line())
    with pytest.raises(Malformed, match="virtual-host format"):
        log.convert(b"www.example.com " + a_line())
    log.parse = FORMATS["vhost"]
    two = [json.loads(log.convert(VHOST + a_line(address=address)) or b"") for address in ("192.0.2.7", "192.0.2.8")]
    assert two[0]["subject"] != two[1]["subject"]
    assert two[0]["subject"] == events(a_line())[0]["subject"]
    assert two[0]["data"]["url"] == "https://www.example.com/blog/decay"


def test_json_lines_of_three_servers_tell_the_same_visit() -> None:
    """nginx, Caddy and Traefik name their fields each in their own way."""
    log = AccessLog("https://docs.example")
    log.parse = FORMATS["json"]
    nginx, caddy, traefik = (
        json.loads(log.convert(json.dumps(line).encode()) or b"") for line in (NGINX_JSON, CADDY_JSON, TRAEFIK_JSON)
    )
    assert {one["data"]["url"] for one in (nginx, caddy, traefik)} == {"https://docs.example/blog/decay"}
    assert [one["time"] for one in (nginx, caddy, traefik)] == [
        "2026-05-17T08:05:03Z", "2026-05-17T10:05:03.250Z", "2026-05-17T10:05:03.123Z",
    ]  # fmt: skip
    assert caddy["data"]["referrer"] == "https://search.example/"
    assert nginx["subject"] == traefik["subject"] == events(a_line())[0]["subject"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"remote_addr": "www.example.com:443"}, "address"),
        ({"remote_addr": ""}, "no field for address; looked for address: remote_addr"),
        ({"time_iso8601": "2026-05-17T10:05:03"}, "no offset"),
        ({"time_iso8601": "yesterday"}, "no ISO 8601"),
        ({"request": "", "http_user_agent": ""}, "no field for request"),
    ],
)
def test_a_json_line_that_lacks_something_says_what_was_looked_for(change: dict[str, str], reason: str) -> None:
    """The person who writes the server's `log_format` sees which names are known."""
    with pytest.raises(Malformed, match=reason):
        FORMATS["json"](json.dumps(NGINX_JSON | change).encode())


def test_behind_a_proxy_the_visitor_is_the_forwarded_address_or_a_named_field() -> None:
    """The proxy's own address would make all visitors one."""
    line = a_line(address="10.0.0.1").rstrip()
    by_address = AccessLog(visitor_by=VisitorBy(forwarded=True))
    one, two, direct = (
        json.loads(by_address.convert(line + more) or b"")["subject"]
        for more in (b' "198.51.100.4, 10.0.0.1"', b' "198.51.100.5"', b' "-"')
    )
    assert one != two
    assert one == events(a_line(address="198.51.100.4"))[0]["subject"]
    assert direct == events(a_line(address="10.0.0.1"))[0]["subject"], "a request that came by no proxy"
    by_field = AccessLog(visitor_by=VisitorBy(field="2"))
    first, again, other = (
        json.loads(by_field.convert(line + more) or b"")["subject"] for more in (b' "-" vid1', b' "x" vid1', b' "x" vid2')
    )
    assert first == again != other
    in_json = AccessLog(visitor_by=VisitorBy(field="cookie_vid"))
    in_json.parse = FORMATS["json"]
    assert len({in_json.convert(json.dumps(NGINX_JSON | {"remote_addr": f"192.0.2.{n}"}).encode()) for n in range(2)}) == 2
    assert in_json.summary.visitors == 1


def test_an_address_that_makes_nearly_all_views_is_warned_of(tmp_path: Path) -> None:
    """A proxy's address, most likely; without a word its visitors would be one lead."""
    log = tmp_path / "access.log"
    log.write_bytes(b"".join(a_line(f"/{n}", address="10.0.0.1") for n in range(60)))
    result = CliRunner().invoke(convert, ["access-log", str(log)])
    assert "warning: 60 of 60 page views come from the address 10.0.0.1" in result.stderr
    assert "--forwarded" in result.stderr
    log.write_bytes(b"".join(a_line(f"/{n}", address=f"10.0.0.{n % 9}") for n in range(60)))
    assert "warning" not in CliRunner().invoke(convert, ["access-log", str(log)]).stderr


def test_files_of_a_rotated_log_are_read_in_the_order_of_their_times(tmp_path: Path) -> None:
    """The shell names the newest first, and a visit over midnight would become two."""
    early = a_line("/one", time="16/May/2026:23:59:00 +0000")
    late = a_line("/two", time="17/May/2026:00:01:00 +0000")
    (tmp_path / "access.log").write_bytes(late)
    (tmp_path / "access.log.1.gz").write_bytes(gzip.compress(early))
    result = CliRunner().invoke(convert, ["access-log", *sorted(map(str, tmp_path.iterdir()))])
    assert [json.loads(line)["data"]["url"] for line in result.stdout.splitlines()] == ["/one", "/two"]
    assert "by 1 visitors in 1 sessions" in result.stderr
    assert f"read in the order of their times: {tmp_path}/access.log.1.gz, {tmp_path}/access.log" in result.stderr
