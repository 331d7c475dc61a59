//! Every rule about exceptions from a proxy, as a table, and any list against a slow matcher that is obviously right.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;
use scm_transport::NoProxy;
use url::{Host, Url};

const LONG: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

/// The list, the URL, and what is said; `proxy` stands for "proxy: no entry matches", and `=x` for the entry `x`.
const TABLE: &[(&str, &str, &str)] = &[
    // Nothing matches nothing.
    ("", "https://git.test/", "proxy"),
    (" , ,\t\r\n,, ", "https://git.test/", "proxy"),
    ("other.test", "https://git.test/", "proxy"),
    // Commas and ASCII white space.
    ("a.test,b.test", "https://b.test/", "=b.test"),
    ("a.test b.test", "https://b.test/", "=b.test"),
    ("a.test , b.test", "https://a.test/", "=a.test"),
    ("a.test\tb.test\r\nc.test\x0cd.test", "https://c.test/", "=c.test"),
    ("a.test\tb.test\r\nc.test\x0cd.test", "https://d.test/", "=d.test"),
    (",,a.test,,", "https://a.test/", "=a.test"),
    ("a.test\u{a0}b.test", "https://a.test/", "proxy"),
    // A name and those under it.
    ("example.com", "https://example.com/", "=example.com"),
    ("example.com", "https://git.example.com/", "=example.com"),
    ("example.com", "https://a.b.c.example.com/", "=example.com"),
    (".example.com", "https://example.com/", "=.example.com"),
    (".example.com", "https://git.example.com/", "=.example.com"),
    ("example.com", "https://ample.com/", "proxy"),
    ("ample.com", "https://example.com/", "proxy"),
    (".ample.com", "https://example.com/", "proxy"),
    ("*.ample.com", "https://example.com/", "proxy"),
    ("example.com", "https://example.com.evil.test/", "proxy"),
    ("example.com", "https://example.comx/", "proxy"),
    ("example.com", "https://com/", "proxy"),
    ("git.example.com", "https://example.com/", "proxy"),
    ("com", "https://git.example.com/", "=com"),
    (".svc", "https://api.default.svc/", "=.svc"),
    (".svc", "https://api.default.svc.cluster.local/", "proxy"),
    (".svc,.cluster.local", "https://api.default.svc.cluster.local/", "=.cluster.local"),
    ("intranet", "https://intranet/", "=intranet"),
    ("intranet", "https://git.intranet/", "=intranet"),
    ("git_lab.test", "https://git_lab.test/", "=git_lab.test"),
    ("git-lab.test", "https://git-lab.test/", "=git-lab.test"),
    ("1a.test", "https://1a.test/", "=1a.test"),
    // Names under it only.
    ("*.example.com", "https://git.example.com/", "=*.example.com"),
    ("*.example.com", "https://a.b.example.com/", "=*.example.com"),
    ("*.example.com", "https://example.com/", "proxy"),
    ("*.example.com,example.com", "https://example.com/", "=example.com"),
    ("*.com", "https://example.com/", "=*.com"),
    // Case.
    ("EXAMPLE.com", "https://example.com/", "=EXAMPLE.com"),
    ("example.com", "https://GIT.Example.COM/", "=example.com"),
    (".Example.Com", "https://git.example.com/", "=.Example.Com"),
    ("*.EXAMPLE.COM", "https://git.example.com/", "=*.EXAMPLE.COM"),
    // Names of other scripts.
    ("bücher.example", "https://xn--bcher-kva.example/", "=bücher.example"),
    ("xn--bcher-kva.example", "https://bücher.example/", "=xn--bcher-kva.example"),
    ("BÜCHER.example", "https://git.bücher.example/", "=BÜCHER.example"),
    ("*.bücher.example", "https://git.bücher.example/", "=*.bücher.example"),
    (".bücher.example:81", "http://bücher.example:81/", "=.bücher.example:81"),
    ("bucher.example", "https://bücher.example/", "proxy"),
    ("ｅｘａｍｐｌｅ.com", "https://example.com/", "=ｅｘａｍｐｌｅ.com"),
    ("faß.example", "https://xn--fa-hia.example/", "=faß.example"),
    // One trailing dot on either side.
    ("example.com.", "https://example.com/", "=example.com."),
    ("example.com", "https://example.com./", "=example.com"),
    ("example.com.", "https://git.example.com./", "=example.com."),
    (".example.com.", "https://git.example.com/", "=.example.com."),
    ("*.example.com.", "https://git.example.com/", "=*.example.com."),
    ("example.com.:443", "https://example.com/", "=example.com.:443"),
    ("example.com", "https://example.com../", "proxy"),
    ("10.0.0.1.", "https://10.0.0.1/", "=10.0.0.1."),
    ("10.0.0.1", "https://10.0.0.1./", "=10.0.0.1"),
    // Ports.
    ("example.com:443", "https://example.com/", "=example.com:443"),
    ("example.com:443", "https://example.com:443/", "=example.com:443"),
    ("example.com:443", "http://example.com/", "proxy"),
    ("example.com:443", "https://example.com:8443/", "proxy"),
    ("example.com:80", "http://example.com/", "=example.com:80"),
    ("example.com:80", "http://git.example.com/", "=example.com:80"),
    (".example.com:7990", "http://git.example.com:7990/", "=.example.com:7990"),
    (".example.com:7990", "http://git.example.com/", "proxy"),
    ("*.example.com:7990", "http://git.example.com:7990/", "=*.example.com:7990"),
    ("*.example.com:7990", "http://example.com:7990/", "proxy"),
    ("*:8443", "https://example.com:8443/", "=*:8443"),
    ("*:8443", "https://10.0.0.1:8443/", "=*:8443"),
    ("*:8443", "https://[fd00::1]:8443/", "=*:8443"),
    ("*:8443", "https://example.com/", "proxy"),
    ("10.0.0.1:8080", "http://10.0.0.1:8080/", "=10.0.0.1:8080"),
    ("10.0.0.1:8080", "http://10.0.0.1/", "proxy"),
    ("[fd00::1]:8080", "http://[fd00::1]:8080/", "=[fd00::1]:8080"),
    ("[fd00::1]:8080", "http://[fd00::1]/", "proxy"),
    ("example.com:0443", "https://example.com/", "=example.com:0443"),
    ("example.com:65535", "https://example.com:65535/", "=example.com:65535"),
    ("a.test:1,a.test:2,a.test:3", "https://a.test:2/", "=a.test:2"),
    ("a.test:1,a.test:2,a.test:3", "https://a.test:4/", "proxy"),
    ("a.test:2,a.test", "https://a.test:4/", "=a.test"),
    ("a.test:443,test", "https://b.a.test:444/", "=test"),
    ("example.com:443", "wss://example.com/", "=example.com:443"),
    ("example.com:22", "ssh://git@Example.com:22/", "=example.com:22"),
    ("example.com:22", "ssh://git@example.com/", "proxy"),
    // Everything.
    ("*", "https://example.com/", "=*"),
    ("*", "http://10.0.0.1/", "=*"),
    ("*", "http://[fd00::1]/", "=*"),
    ("*", "http://localhost/", "=*"),
    ("a.test,*,b.test", "https://example.com/", "=*"),
    // Addresses.
    ("10.0.0.1", "https://10.0.0.1/", "=10.0.0.1"),
    ("10.0.0.1", "https://10.0.0.2/", "proxy"),
    ("10.0.0.1", "https://10.0.0.1.example.com/", "proxy"),
    ("10.0.0.1", "https://0xa.1/", "=10.0.0.1"),
    ("10.0.0.1", "https://012.0.0.1/", "=10.0.0.1"),
    ("10.0.0.1", "https://167772161/", "=10.0.0.1"),
    ("0xa.1", "https://10.0.0.1/", "=0xa.1"),
    ("167772161", "https://10.0.0.1/", "=167772161"),
    ("10.1", "https://10.0.0.1/", "=10.1"),
    ("010.0.0.1", "https://8.0.0.1/", "=010.0.0.1"),
    ("fd00::1", "https://[fd00::1]/", "=fd00::1"),
    ("[fd00::1]", "https://[fd00::1]/", "=[fd00::1]"),
    ("FD00:0:0:0:0:0:0:1", "https://[fd00::1]/", "=FD00:0:0:0:0:0:0:1"),
    ("fd00::1", "https://[FD00:0::0001]/", "=fd00::1"),
    ("fd00::1", "https://[fd00::2]/", "proxy"),
    ("::1:80", "http://[::1:80]/", "=::1:80"),
    ("fe80::1%eth0", "http://[fe80::1]/", "=fe80::1%eth0"),
    ("[fe80::1%eth0]", "http://[fe80::1]/", "=[fe80::1%eth0]"),
    ("[fe80::1%25eth0]:81", "http://[fe80::1]:81/", "=[fe80::1%25eth0]:81"),
    ("fe80::1", "http://[fe80::1%25eth0]/", "=fe80::1"),
    ("fe80::1", "http://[fe80::1%eth0]:8080/x", "=fe80::1"),
    ("fe80::1", "http://user@[fe80::1%25eth0]/", "=fe80::1"),
    ("::ffff:10.0.0.1", "https://10.0.0.1/", "=::ffff:10.0.0.1"),
    ("10.0.0.1", "https://[::ffff:10.0.0.1]/", "=10.0.0.1"),
    ("10.0.0.1", "https://[::ffff:a00:1]/", "=10.0.0.1"),
    ("::10.0.0.1", "https://10.0.0.1/", "proxy"),
    // Networks.
    ("10.0.0.0/8", "https://10.255.255.255/", "=10.0.0.0/8"),
    ("10.0.0.0/8", "https://10.0.0.0/", "=10.0.0.0/8"),
    ("10.0.0.0/8", "https://11.0.0.0/", "proxy"),
    ("10.0.0.0/8", "https://9.255.255.255/", "proxy"),
    ("10.1.2.3/8", "https://10.9.9.9/", "=10.1.2.3/8"),
    ("10.0.0.0/9", "https://10.128.0.0/", "proxy"),
    ("10.0.0.1/32", "https://10.0.0.1/", "=10.0.0.1/32"),
    ("10.0.0.1/32", "https://10.0.0.2/", "proxy"),
    ("10.0.0.0/31", "https://10.0.0.1/", "=10.0.0.0/31"),
    ("0.0.0.0/0", "https://203.0.113.1/", "=0.0.0.0/0"),
    ("0.0.0.0/0", "https://[2001:db8::1]/", "proxy"),
    ("0.0.0.0/0", "https://[::ffff:203.0.113.1]/", "=0.0.0.0/0"),
    ("::/0", "https://[2001:db8::1]/", "=::/0"),
    ("::/0", "https://203.0.113.1/", "proxy"),
    ("fd00::/8", "https://[fdff:ffff::1]/", "=fd00::/8"),
    ("fd00::/8", "https://[fe00::1]/", "proxy"),
    ("fd00::1/128", "https://[fd00::1]/", "=fd00::1/128"),
    ("fe80::%eth0/10", "https://[fe80::1]/", "=fe80::%eth0/10"),
    ("::ffff:10.0.0.0/104", "https://10.1.2.3/", "=::ffff:10.0.0.0/104"),
    ("::ffff:10.0.0.0/104", "https://11.1.2.3/", "proxy"),
    ("10.0.0.0/8", "https://[::ffff:10.1.2.3]/", "=10.0.0.0/8"),
    ("10.0.0.0/8", "https://10.example.com/", "proxy"),
    ("0.0.0.0/0,::/0", "https://example.com/", "proxy"),
    ("10.1.0.0/16,10.0.0.0/8,10.1.1.0/24", "https://10.1.1.1/", "=10.0.0.0/8"),
    ("10.0.0.0/24,10.0.2.0/24", "https://10.0.1.1/", "proxy"),
    ("10.0.0.0/24,10.0.2.0/24", "https://10.0.2.1/", "=10.0.2.0/24"),
    ("10.0.0.0/8", "https://167772161/", "=10.0.0.0/8"),
    // Loopback.
    ("", "http://localhost/", "loopback"),
    ("", "http://LOCALHOST.:8080/", "loopback"),
    ("", "http://127.0.0.1/", "loopback"),
    ("", "http://127.255.255.255/", "loopback"),
    ("", "http://0x7f.1/", "loopback"),
    ("", "http://[::1]/", "loopback"),
    ("", "http://[::ffff:127.0.0.1]/", "loopback"),
    ("", "http://128.0.0.1/", "proxy"),
    ("", "http://[::2]/", "proxy"),
    ("", "http://git.localhost/", "proxy"),
    ("", "http://localhost.localdomain/", "proxy"),
    ("localhost", "http://git.localhost/", "=localhost"),
    ("localhost", "http://localhost/", "=localhost"),
    ("127.0.0.1:80", "http://127.0.0.1:81/", "loopback"),
    // No host, no way.
    ("*", "mailto:somebody@example.com", "refused"),
    ("*", "file:///etc/hosts", "refused"),
    ("*", "example.com", "refused"),
    ("*", "/path", "refused"),
    ("*", "", "refused"),
    ("*", "https://", "refused"),
    ("*", "https://exa mple.com/", "refused"),
    ("*", "https://256.1.1.1/", "refused"),
    ("*", "https://[::g]/", "refused"),
    ("*", "https://a:99999/", "refused"),
    ("*", "ssh://exa%00mple/", "refused"),
    ("*", "http://u]@[::1", "refused"),
    ("*", "http://u]%@[::1%25eth0]@", "refused"),
];

/// Entries that match nothing, with the words about them.
const MALFORMED: &[(&str, &str)] = &[
    ("http://example.com", "a URL"),
    ("https://git.test:8443/x", "a URL"),
    ("example.com/path", "path"),
    ("example.com/", "path"),
    ("/", "path"),
    ("\"example.com\"", "quotes"),
    ("'example.com'", "quotes"),
    ("`example.com`", "quotes"),
    ("“example.com”", "quotes"),
    ("a.test;git.test", "separated"),
    ("a.test|git.test", "separated"),
    ("10.0.0.*", "10.0.0.0/8"),
    ("10.*", "10.0.0.0/8"),
    ("*.*.*.*", "stands alone"),
    ("*git.test", "stands alone"),
    ("git.*.test", "stands alone"),
    ("git.*", "stands alone"),
    (".*.test", "stands alone"),
    ("**", "stands alone"),
    ("*.", "empty name"),
    (".", "empty name"),
    (":80", "empty name"),
    ("..test", "empty"),
    ("git..test", "empty"),
    ("git.test..", "empty"),
    ("git.test:", "port"),
    ("git.test:http", "port"),
    ("git.test:65536", "port"),
    ("git.test:+80", "port"),
    ("git.test:80:80", "port"),
    ("*:x", "port"),
    ("[::1]:", "port"),
    ("[::1]80", "colon"),
    ("[::1", "bracket"),
    ("[10.0.0.1]", "IPv6"),
    ("[git.test]", "IPv6"),
    ("[]", "IPv6"),
    ("[fe80::1%]", "IPv6"),
    ("[fd00::/8]", "brackets around"),
    ("[fd00::]/8", "brackets around"),
    ("10.0.0.0/33", "too long"),
    ("fd00::/129", "too long"),
    ("::ffff:10.0.0.0/129", "too long"),
    ("10.0.0.0/99999999999", "too long"),
    ("10.0.0.0/08", "leading zeros"),
    ("10.0.0.0/00", "leading zeros"),
    ("10.0.0.0/255.0.0.0", "netmask"),
    ("10.0.0.0/", "no number"),
    ("10.0.0.0/+8", "no number"),
    ("10.0.0.0/8:80", "no number"),
    ("10.0.0.0/8/8", "no number"),
    ("10/8", "four parts"),
    ("10.0/16", "four parts"),
    ("010.0.0.0/8", "four parts"),
    (".10.0.0.1", "address with a dot"),
    ("*.10.0.0.1", "address with a dot"),
    ("10.0.0.1%eth0", "`%`"),
    ("git%2etest", "`%`"),
    ("256.0.0.1", "neither"),
    ("1.2.3.4.5", "neither"),
    ("192.168.", "10.0.0.0/8"),
    ("10.", "10.0.0.0/8"),
    ("fe80::1%eth0:80", "port"),
    ("user@git.test", "neither"),
    ("<local>", "neither"),
    ("git.test!", "character"),
    ("git.test\u{a0}", "neither"),
];

fn said(list: &NoProxy, url: &str) -> String {
    let decision = list.decide_text(url);
    // Where a `Url` can be had, both ways say the same.
    if let Ok(url) = Url::parse(url) {
        assert_eq!(list.decide(&url), decision, "{url}");
    }
    decision.to_string()
}

#[test]
fn every_rule_of_the_table_holds() {
    assert!(TABLE.len() >= 150, "{}", TABLE.len());
    for (list, url, expected) in TABLE {
        let expected = match expected.strip_prefix('=') {
            Some(entry) => format!("direct: entry `{entry}`"),
            None if *expected == "loopback" => "direct: loopback is always direct".to_owned(),
            None if *expected == "refused" => "refused: the URL has no valid host".to_owned(),
            None => "proxy: no entry matches".to_owned(),
        };
        assert_eq!(said(&NoProxy::parse(list), url), expected, "{list:?} and {url}");
    }
}

#[test]
fn loopback_takes_the_proxy_where_that_is_wanted() {
    for url in ["http://localhost/", "http://127.0.0.1/", "http://[::1]/", "http://[::ffff:127.9.9.9]/"] {
        assert_eq!(said(&NoProxy::parse("").with_proxied_loopback(), url), "proxy: no entry matches");
    }
    for (list, url) in
        [("localhost", "http://localhost/"), ("127.0.0.0/8", "http://127.0.0.1/"), ("::1", "http://[::1]/")]
    {
        let expected = format!("direct: entry `{list}`");
        assert_eq!(said(&NoProxy::parse(list).with_proxied_loopback(), url), expected);
    }
}

#[test]
fn malformed_entries_are_told_and_spoil_no_other() {
    for (entry, words) in MALFORMED {
        let list = NoProxy::parse(&format!("a.test,{entry},10.0.0.1"));
        let [malformed] = list.malformed() else { panic!("{entry}: {:?}", list.malformed()) };
        assert_eq!(malformed.entry(), entry.replace("user@", "[redacted]@"));
        assert!(malformed.why().contains(words), "{malformed}");
        assert_eq!(list.entries().collect::<Vec<_>>(), ["a.test", "10.0.0.1"]);
        for url in ["https://git.test/", "http://git.test:80/", "http://10.0.0.2/", "http://[fd00::1]/"] {
            assert_eq!(said(&list, url), "proxy: no entry matches", "{entry}");
        }
        assert_eq!(said(&list, "https://a.test/"), "direct: entry `a.test`");
    }
    let long = NoProxy::parse(&format!("{LONG}.{LONG}.{LONG}"));
    assert_eq!(long.malformed()[0].why(), "longer than a name can be");
}

#[test]
fn a_malformed_entry_is_shown_without_its_password() {
    for pasted in [
        "http://svc:hunter2@proxy.test:3128",
        "svc:hunter2@proxy.test:3128",
        "http://svc:hunter2/x@proxy.test:3128",
        "http://svc@x:hunter2@proxy.test:3128",
    ] {
        let list = NoProxy::parse(pasted);
        assert_eq!(list.malformed()[0].entry(), "[redacted]@proxy.test:3128");
        assert!(!format!("{list:?}").contains("hunter2"));
    }
}

#[test]
fn ten_thousand_entries_decide_like_one() {
    let mut list: Vec<String> = (0..5_000).map(|n| format!("host{n}.corp.test")).collect();
    list.extend((0..4_000).map(|n| format!("10.{}.{}.0/24", n / 250, n % 250)));
    list.extend((0..1_000).map(|n| format!("build.test:{}", 10_000 + n)));
    let list = NoProxy::parse(&list.join(","));
    assert_eq!(list.entries().len(), 10_000);
    for (url, expected) in [
        ("https://a.host4999.corp.test/", "direct: entry `host4999.corp.test`"),
        ("https://host5000.corp.test/", "proxy: no entry matches"),
        ("https://10.15.249.7/", "direct: entry `10.15.249.0/24`"),
        ("https://10.15.250.7/", "proxy: no entry matches"),
        ("https://build.test:10999/", "direct: entry `build.test:10999`"),
        ("https://build.test:11000/", "proxy: no entry matches"),
    ] {
        assert_eq!(said(&list, url), expected);
    }
}

/// Does one well-formed entry match? Rule by rule, with nothing prepared.
fn matches(entry: &str, url: &Url) -> bool {
    let port = url.port_or_known_default().unwrap();
    let host = match url.host().unwrap() {
        Host::Domain(name) => Host::Domain(name.strip_suffix('.').unwrap_or(name).to_owned()),
        Host::Ipv4(ip) => Host::Ipv4(ip),
        Host::Ipv6(ip) => ip.to_ipv4_mapped().map_or(Host::Ipv6(ip), Host::Ipv4),
    };
    if let Some((network, length)) = entry.split_once('/') {
        let length: u32 = length.parse().unwrap();
        return match (network.parse().unwrap(), host) {
            (IpAddr::V4(network), Host::Ipv4(ip)) => same(bits4(network), bits4(ip), length),
            (IpAddr::V6(network), Host::Ipv6(ip)) => same(bits6(network), bits6(ip), length),
            (IpAddr::V6(network), Host::Ipv4(ip)) if length >= 96 => {
                network.to_ipv4_mapped().is_some_and(|network| same(bits4(network), bits4(ip), length - 96))
            }
            _ => false,
        };
    }
    let (pattern, wanted) = match entry.parse::<Ipv6Addr>() {
        Ok(_) => (entry, None),
        Err(_) => match entry.rsplit_once(':') {
            Some((pattern, port)) if !port.ends_with(']') => (pattern, Some(port.parse::<u16>().unwrap())),
            _ => (entry, None),
        },
    };
    if wanted.is_some_and(|wanted| wanted != port) {
        return false;
    }
    if pattern == "*" {
        return true;
    }
    let bare = pattern.trim_start_matches('[').trim_end_matches(']');
    if let Ok(ip) = bare.parse::<IpAddr>() {
        return match host {
            Host::Domain(_) => false,
            Host::Ipv4(host) => ip.to_canonical() == IpAddr::V4(host),
            Host::Ipv6(host) => ip == IpAddr::V6(host),
        };
    }
    let Host::Domain(host) = host else { return false };
    let name = pattern.to_ascii_lowercase();
    let name = name.strip_suffix('.').unwrap_or(&name);
    match name.strip_prefix("*.") {
        Some(name) => host.ends_with(&format!(".{name}")),
        None => {
            let name = name.strip_prefix('.').unwrap_or(name);
            host == name || host.ends_with(&format!(".{name}"))
        }
    }
}

fn bits4(ip: Ipv4Addr) -> String {
    ip.octets().iter().map(|octet| format!("{octet:08b}")).collect()
}

fn bits6(ip: Ipv6Addr) -> String {
    ip.octets().iter().map(|octet| format!("{octet:08b}")).collect()
}

fn same(a: String, b: String, length: u32) -> bool {
    a[..length as usize] == b[..length as usize]
}

/// Few letters, so that names meet.
fn name() -> impl Strategy<Value = String> {
    prop::collection::vec("[ab]{1,2}", 1..4).prop_map(|labels| labels.join("."))
}

fn v4() -> impl Strategy<Value = Ipv4Addr> {
    prop::collection::vec(prop::sample::select(vec![0_u8, 1, 10, 127, 128, 255]), 4)
        .prop_map(|octets| Ipv4Addr::new(octets[0], octets[1], octets[2], octets[3]))
}

fn v6() -> impl Strategy<Value = Ipv6Addr> {
    let free = prop::collection::vec(prop::sample::select(vec![0_u16, 1, 0x8000, 0xffff]), 8)
        .prop_map(|s| Ipv6Addr::new(s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7]));
    prop_oneof![free, v4().prop_map(|ip| ip.to_ipv6_mapped())]
}

fn port() -> impl Strategy<Value = String> {
    prop_oneof![2 => Just(String::new()), 1 => prop::sample::select(vec![":80", ":443", ":81"]).prop_map(str::to_owned)]
}

fn entry() -> impl Strategy<Value = String> {
    let start = prop::sample::select(vec!["", ".", "*."]);
    let end = prop::sample::select(vec!["", "."]);
    prop_oneof![
        6 => (start, name(), end, port()).prop_map(|(start, name, end, port)| format!("{start}{name}{end}{port}")),
        1 => port().prop_map(|port| format!("*{port}")).prop_filter("everything hides the rest", |entry| entry != "*"),
        2 => (v4(), port()).prop_map(|(ip, port)| format!("{ip}{port}")),
        1 => v6().prop_map(|ip| ip.to_string()),
        1 => (v6(), port()).prop_map(|(ip, port)| format!("[{ip}]{port}")),
        3 => (v4(), 0..=32_u32).prop_map(|(ip, length)| format!("{ip}/{length}")),
        2 => (v6(), 0..=128_u32).prop_map(|(ip, length)| format!("{ip}/{length}")),
    ]
}

fn url() -> impl Strategy<Value = Url> {
    let host = prop_oneof![
        (name(), prop::sample::select(vec!["", "."])).prop_map(|(name, end)| format!("{name}{end}")),
        v4().prop_map(|ip| ip.to_string()),
        v6().prop_map(|ip| format!("[{ip}]")),
    ];
    (prop::sample::select(vec!["http", "https"]), host, port())
        .prop_map(|(scheme, host, port)| format!("{scheme}://{host}{port}/").parse().unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn it_decides_as_the_slow_matcher_does(entries in prop::collection::vec(entry(), 0..12), url in url()) {
        let list = NoProxy::parse(&entries.join(",")).with_proxied_loopback();
        prop_assert!(list.malformed().is_empty(), "{:?}", list.malformed());
        let decision = list.decide(&url);
        let expected = entries.iter().any(|entry| matches(entry, &url));
        prop_assert_eq!(decision.is_direct(), expected, "{} with {:?}", url, entries);
        if let Some(entry) = decision.entry() {
            prop_assert!(matches(entry, &url), "{} does not match {}", entry, url);
        }
    }

    #[test]
    fn the_order_of_entries_does_not_matter(mut entries in prop::collection::vec(entry(), 0..8), url in url()) {
        let there = NoProxy::parse(&entries.join(",")).decide(&url).as_str();
        entries.reverse();
        prop_assert_eq!(NoProxy::parse(&entries.join(" ")).decide(&url).as_str(), there);
    }

    #[test]
    fn any_text_is_read_and_any_text_is_decided(list in ".{0,80}", url in prop_oneof![".{0,80}", "[]\\[@%:/\\\\a1]{0,12}"]) {
        let list = NoProxy::parse(&list);
        let _ = list.decide_text(&url);
        let _ = list.decide_text(&format!("http://{url}"));
        for malformed in list.malformed() {
            prop_assert!(!malformed.why().is_empty());
        }
    }
}
