//! Which targets go straight to the server though there is a proxy.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use scm_core::redact::{self, REDACTED};
use url::{Host, Url};

/// The exceptions from a proxy, as people write them in `no_proxy`. Parsed once; a decision costs about the same for
/// ten entries and for ten thousand.
///
/// ```
/// use scm_transport::NoProxy;
///
/// let exceptions = NoProxy::parse("gitlab.company.com:8443, .svc, 10.0.0.0/8, http://oops");
/// assert_eq!(exceptions.malformed()[0].to_string(), "`http://oops`: a URL; give the host alone");
///
/// let decision = exceptions.decide(&"https://api.default.svc/v1".parse()?);
/// assert!(decision.is_direct());
/// assert_eq!(decision.to_string(), "direct: entry `.svc`");
/// # Ok::<(), url::ParseError>(())
/// ```
///
/// # Rules
///
/// | entry | matches |
/// |---|---|
/// | `example.com`, `.example.com` | the name and every name under it; labels are whole, so that `ample.com` does not match `example.com` |
/// | `*.example.com` | the names under it, not the name |
/// | `*` | everything, addresses too, wherever it stands in the list |
/// | `10.1.2.3`, `::1`, `[::1]` | the address, in whatever spelling; `::ffff:10.1.2.3` is `10.1.2.3`, and a zone (`%eth0`) is cut off |
/// | `10.0.0.0/8`, `fd00::/8` | hosts that are written as an address in that network; bits beyond the prefix do not count, and `/0` is the whole family. Names are never resolved |
/// | `host:8443`, `.domain:8443`, `*.domain:8443`, `*:8443`, `10.1.2.3:8443`, `[::1]:8443` | the same, on that port alone. The port of a URL without one is its scheme's |
///
/// - Entries stand between commas and white space.
/// - Names are compared without regard to case, as IDNA A-labels (`bücher.example` is `xn--bcher-kva.example`), after one
///   trailing dot is dropped on either side.
/// - IPv4 addresses of URLs and single entries are read as the URL standard reads them: `0x7f.1`, `0177.0.0.1` and
///   `2130706433` are `127.0.0.1`. In a network all four parts are given.
/// - `localhost`, `127.0.0.0/8` and `::1` are direct without an entry, unless
///   [`with_proxied_loopback`](Self::with_proxied_loopback) says otherwise.
/// - What cannot be read (a URL, a path, quotes, `;` or `|` between entries, `10.0.*`, a netmask, a prefix length that is too
///   long or has leading zeros, brackets around a network) matches nothing, and [`malformed`](Self::malformed) tells it.
#[derive(Clone, Default)]
pub struct NoProxy {
    /// What can be read, as it was written.
    entries: Vec<Box<str>>,
    malformed: Vec<Malformed>,
    loopback_proxied: bool,
    everything: Ports,
    names: Label,
    addresses: HashMap<IpAddr, Ports, Quick>,
    v4: Networks<Ipv4Addr>,
    v6: Networks<Ipv6Addr>,
}

impl NoProxy {
    /// Reads a list. What cannot be read is left out, see [`malformed`](Self::malformed).
    #[must_use]
    pub fn parse(list: &str) -> Self {
        let mut this = Self::default();
        for entry in
            list.split(|c: char| c == ',' || c.is_ascii_whitespace()).filter(|entry| !entry.is_empty())
        {
            match Entry::parse(entry) {
                Ok(parsed) => this.insert(parsed, entry),
                Err(why) => this.malformed.push(Malformed { entry: without_secret(entry), why }),
            }
        }
        this.v4.arrange();
        this.v6.arrange();
        this
    }

    /// Sends `localhost` and loopback addresses through the proxy too, where no entry matches them.
    #[must_use]
    pub fn with_proxied_loopback(mut self) -> Self {
        self.loopback_proxied = true;
        self
    }

    pub(crate) fn is_loopback_proxied(&self) -> bool {
        self.loopback_proxied
    }

    /// The entries that cannot be read, in the list's order.
    pub fn malformed(&self) -> &[Malformed] {
        &self.malformed
    }

    /// The entries that count, in the list's order.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = &str> {
        self.entries.iter().map(|entry| &**entry)
    }

    /// Which way requests to `url` take, and why.
    pub fn decide(&self, url: &Url) -> Decision<'_> {
        let special = matches!(url.scheme(), "http" | "https" | "ws" | "wss" | "ftp");
        match url.host() {
            Some(host) if special => self.choose(&host, url.port_or_known_default()),
            // Of other schemes the host is any text so far.
            Some(host) => match Host::parse(&host.to_string()) {
                Ok(host) => self.choose(&host, url.port_or_known_default()),
                Err(_) => Decision::Refused,
            },
            None => Decision::Refused,
        }
    }

    /// The same for the text of a URL, whose IPv6 host may have a zone (`http://[fe80::1%25eth0]/`), which a [`Url`]
    /// cannot have.
    pub fn decide_text(&self, url: &str) -> Decision<'_> {
        match Url::parse(&without_zone(url)) {
            Ok(url) => self.decide(&url),
            Err(_) => Decision::Refused,
        }
    }

    fn choose<S: AsRef<str>>(&self, host: &Host<S>, port: Option<u16>) -> Decision<'_> {
        let (entry, loopback) = match host {
            Host::Domain(name) => {
                let name = name.as_ref();
                let name = name.strip_suffix('.').unwrap_or(name);
                (self.names.find(name, port), name == "localhost")
            }
            Host::Ipv4(ip) => self.address((*ip).into(), port),
            Host::Ipv6(ip) => self.address(ip.to_canonical(), port),
        };
        match self.everything.find(port).or(entry) {
            Some(entry) => Decision::Direct(Reason::Entry(&self.entries[entry])),
            None if loopback && !self.loopback_proxied => Decision::Direct(Reason::Loopback),
            None => Decision::Proxy,
        }
    }

    fn address(&self, ip: IpAddr, port: Option<u16>) -> (Option<usize>, bool) {
        let single = self.addresses.get(&ip).and_then(|ports| ports.find(port));
        let entry = single.or_else(|| match ip {
            IpAddr::V4(ip) => self.v4.find(ip),
            IpAddr::V6(ip) => self.v6.find(ip),
        });
        (entry, ip.is_loopback())
    }

    fn insert(&mut self, parsed: Entry, entry: &str) {
        let index = self.entries.len();
        self.entries.push(entry.into());
        match parsed {
            Entry::Host(target, port) => {
                let ports = match target {
                    Pattern::Everything => &mut self.everything,
                    Pattern::Address(ip) => self.addresses.entry(ip).or_default(),
                    Pattern::Domain(name) => &mut self.names.reach(&name).whole,
                    Pattern::Below(name) => &mut self.names.reach(&name).below,
                };
                ports.insert(port, index);
            }
            Entry::V4(first, last) => self.v4.0.push((first, last, index)),
            Entry::V6(first, last) => self.v6.0.push((first, last, index)),
        }
    }
}

impl fmt::Debug for NoProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NoProxy")
            .field("entries", &self.entries.len())
            .field("malformed", &self.malformed)
            .field("loopback_proxied", &self.loopback_proxied)
            .finish_non_exhaustive()
    }
}

/// An entry that cannot be read and so matches nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    entry: String,
    why: &'static str,
}

impl Malformed {
    /// The entry as it was written; a password in it is taken out.
    pub fn entry(&self) -> &str {
        &self.entry
    }

    /// What is wrong with it.
    pub fn why(&self) -> &str {
        self.why
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`: {}", self.entry, self.why)
    }
}

/// The way to a target. `Display` says why, such as ``direct: entry `.company.com` ``.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Decision<'a> {
    /// Straight to the server.
    Direct(Reason<'a>),
    /// Through the proxy: nothing matches.
    Proxy,
    /// Nowhere: the URL has no valid host.
    Refused,
}

impl<'a> Decision<'a> {
    /// Straight to the server?
    pub fn is_direct(self) -> bool {
        matches!(self, Self::Direct(_))
    }

    /// `direct`, `proxy` or `refused`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Direct(_) => "direct",
            Self::Proxy => "proxy",
            Self::Refused => "refused",
        }
    }

    /// Why, in words.
    pub fn because(self) -> String {
        match self {
            Self::Direct(Reason::Entry(entry)) => format!("entry `{}`", redact::line(entry)),
            Self::Direct(Reason::Loopback) => "loopback is always direct".to_owned(),
            Self::Direct(Reason::NoneForScheme) => "no proxy is set for this scheme".to_owned(),
            Self::Proxy => "no entry matches".to_owned(),
            Self::Refused => "the URL has no valid host".to_owned(),
        }
    }

    /// The entry that decided, as it was written.
    pub fn entry(self) -> Option<&'a str> {
        match self {
            Self::Direct(Reason::Entry(entry)) => Some(entry),
            _ => None,
        }
    }
}

impl fmt::Display for Decision<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.as_str(), self.because())
    }
}

/// Why a target is reached without the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason<'a> {
    /// This entry matches.
    Entry(&'a str),
    /// `localhost` and loopback addresses are direct without an entry.
    Loopback,
    /// There is no proxy for URLs of this scheme.
    NoneForScheme,
}

/// One entry that can be read.
enum Entry {
    Host(Pattern, Option<u16>),
    /// First and last address of a network.
    V4(Ipv4Addr, Ipv4Addr),
    V6(Ipv6Addr, Ipv6Addr),
}

enum Pattern {
    Everything,
    Address(IpAddr),
    /// A name and every name under it.
    Domain(String),
    /// Every name under it.
    Below(String),
}

impl Entry {
    fn parse(entry: &str) -> Result<Self, &'static str> {
        if entry.contains("://") {
            return Err("a URL; give the host alone");
        }
        if entry.contains(['"', '\'', '`', '\u{2018}', '\u{2019}', '\u{201c}', '\u{201d}']) {
            return Err("quotes; leave them out");
        }
        if entry.contains([';', '|']) {
            return Err("entries are separated by commas or white space");
        }
        if let Some((network, length)) = entry.split_once('/') {
            return Self::network(network, length);
        }
        // All of it an IPv6 address: what follows the last colon is no port.
        if let Ok(ip) = cut_zone(entry).parse::<Ipv6Addr>() {
            return Ok(Self::Host(Pattern::Address(ip.to_canonical()), None));
        }
        if let Some(inner) = entry.strip_prefix('[') {
            let (ip, port) = inner.split_once(']').ok_or("a bracket is not closed")?;
            let ip: Ipv6Addr = cut_zone(ip).parse().map_err(|_| "no IPv6 address between the brackets")?;
            let port = match port {
                "" => None,
                port => Some(port_of(port.strip_prefix(':').ok_or("a port needs a colon before it")?)?),
            };
            return Ok(Self::Host(Pattern::Address(ip.to_canonical()), port));
        }
        let (host, port) = match entry.split_once(':') {
            None => (entry, None),
            Some((host, port)) => (host, Some(port_of(port)?)),
        };
        Ok(Self::Host(Pattern::parse(host)?, port))
    }

    fn network(network: &str, length: &str) -> Result<Self, &'static str> {
        if network.starts_with('[') {
            return Err("brackets around a network; leave them out");
        }
        let network: IpAddr = cut_zone(network).parse().map_err(|_| {
            match !network.is_empty() && network.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
                true => "a network needs all four parts of its address, without leading zeros",
                false => "a path; give the host alone",
            }
        })?;
        let whole_number = !length.is_empty() && length.bytes().all(|b| b.is_ascii_digit());
        if !whole_number {
            return Err("the prefix length is no number; a netmask cannot be given");
        }
        if length.len() > 1 && length.starts_with('0') {
            return Err("the prefix length has leading zeros");
        }
        let length: u32 = length.parse().map_err(|_| TOO_LONG)?;
        Ok(match network {
            IpAddr::V4(ip) => Self::v4(ip, length)?,
            IpAddr::V6(ip) => match (ip.to_canonical(), length) {
                (IpAddr::V4(ip), 96..) => Self::v4(ip, length - 96)?,
                _ => {
                    let host_bits = u128::MAX.checked_shr(length).unwrap_or(0);
                    if length > 128 {
                        return Err(TOO_LONG);
                    }
                    Self::V6((ip.to_bits() & !host_bits).into(), (ip.to_bits() | host_bits).into())
                }
            },
        })
    }

    fn v4(ip: Ipv4Addr, length: u32) -> Result<Self, &'static str> {
        if length > 32 {
            return Err(TOO_LONG);
        }
        let host_bits = u32::MAX.checked_shr(length).unwrap_or(0);
        Ok(Self::V4((ip.to_bits() & !host_bits).into(), (ip.to_bits() | host_bits).into()))
    }
}

const TOO_LONG: &str = "the prefix length is too long for the address";

impl Pattern {
    fn parse(host: &str) -> Result<Self, &'static str> {
        if matches!(host, "*" | "*.") {
            return if host == "*" { Ok(Self::Everything) } else { Err("an empty name") };
        }
        let (below, name) = match host.strip_prefix("*.") {
            Some(name) => (true, name),
            None => (false, host.strip_prefix('.').unwrap_or(host)),
        };
        if name.contains('*') {
            return Err("`*` stands alone or as the first label only; give networks as 10.0.0.0/8");
        }
        if name.contains('%') {
            return Err("`%` does not belong into a name");
        }
        match Host::parse(name) {
            Ok(Host::Domain(name)) => {
                let name = name.strip_suffix('.').unwrap_or(&name);
                if name.len() > 253 {
                    return Err("longer than a name can be");
                }
                if name.split('.').any(str::is_empty) {
                    return Err("a label of the name is empty");
                }
                if !name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.')) {
                    return Err("the name has a character that names do not have");
                }
                Ok(if below { Self::Below(name.to_owned()) } else { Self::Domain(name.to_owned()) })
            }
            // As some write a network; the URL standard would read 192.0.0.168 from `192.168.`.
            Ok(Host::Ipv4(_)) if name.ends_with('.') && name.matches('.').count() < 4 => {
                Err("the start of an address; give networks as 10.0.0.0/8")
            }
            Ok(Host::Ipv4(ip)) if name.len() == host.len() => Ok(Self::Address(ip.into())),
            Ok(_) => Err("an address with a dot or `*` before it"),
            Err(_) if name.is_empty() => Err("an empty name"),
            Err(_) => Err("neither a name nor an address"),
        }
    }
}

fn port_of(text: &str) -> Result<u16, &'static str> {
    match text.bytes().all(|b| b.is_ascii_digit()) {
        true => text.parse().map_err(|_| "the port is no number up to 65535"),
        false => Err("the port is no number up to 65535"),
    }
}

/// An entry that cannot be read, as it may be shown: people paste URLs of proxies, in whatever form.
fn without_secret(entry: &str) -> String {
    match entry.rsplit_once('@') {
        Some((_, host)) => format!("{REDACTED}@{}", redact::line(host)),
        None => redact::line(entry),
    }
}

/// `fe80::1%eth0` without its zone. Only IPv6 addresses have one.
fn cut_zone(address: &str) -> &str {
    match address.split_once('%') {
        // A port after a zone needs brackets.
        Some((ip, zone)) if ip.contains(':') && !zone.is_empty() && !zone.contains(':') => ip,
        _ => address,
    }
}

/// A URL's text without the zone of its IPv6 host.
fn without_zone(url: &str) -> std::borrow::Cow<'_, str> {
    let start = url.find("://").map_or(0, |at| at + 3);
    let end = url[start..].find(['/', '\\', '?', '#']).map_or(url.len(), |at| start + at);
    let authority = &url[start..end];
    let before = start + authority.rfind('@').map_or(0, |at| at + 1);
    let host = &url[before..end];
    if host.starts_with('[')
        && let Some(close) = host.rfind(']')
        && let Some(zone) = host[..close].find('%')
    {
        return format!("{}{}", &url[..before + zone], &url[before + close..]).into();
    }
    url.into()
}

/// Names by their labels, from the right: a tree, so that a look-up takes as many steps as the name has labels.
#[derive(Clone, Default)]
struct Label {
    /// Entries for this name and those under it.
    whole: Ports,
    /// Entries for the names under this one.
    below: Ports,
    children: HashMap<Box<[u8]>, Label, Quick>,
}

impl Label {
    fn reach(&mut self, name: &str) -> &mut Self {
        labels(name).fold(self, |node, label| node.children.entry(label.into()).or_default())
    }

    fn find(&self, name: &str, port: Option<u16>) -> Option<usize> {
        let mut node = self;
        let mut labels = labels(name).peekable();
        while let Some(label) = labels.next() {
            node = node.children.get(label)?;
            let below = if labels.peek().is_some() { node.below.find(port) } else { None };
            if let Some(entry) = node.whole.find(port).or(below) {
                return Some(entry);
            }
        }
        None
    }
}

/// The labels of a name, from the right.
fn labels(name: &str) -> impl Iterator<Item = &[u8]> {
    name.as_bytes().rsplit(|byte| *byte == b'.')
}

/// FNV-1a: labels are short, and the keys are the operator's own, so that nobody else can make them collide.
type Quick = BuildHasherDefault<Fnv>;

struct Fnv(u64);

impl Fnv {
    fn mix(&mut self, value: u64) {
        self.0 = (self.0 ^ value).wrapping_mul(0x0100_0000_01b3);
    }
}

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for Fnv {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.mix(u64::from(*byte));
        }
    }

    fn write_usize(&mut self, value: usize) {
        self.mix(value as u64);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// The entries of one host: one for every port, and those for single ports, sorted.
#[derive(Clone, Default)]
struct Ports {
    any: Option<usize>,
    single: Vec<(u16, usize)>,
}

impl Ports {
    /// The first entry of its kind stays.
    fn insert(&mut self, port: Option<u16>, entry: usize) {
        match port {
            None => {
                self.any.get_or_insert(entry);
            }
            Some(port) => {
                if let Err(at) = self.single.binary_search_by_key(&port, |single| single.0) {
                    self.single.insert(at, (port, entry));
                }
            }
        }
    }

    fn find(&self, port: Option<u16>) -> Option<usize> {
        let single = || {
            let at = self.single.binary_search_by_key(&port?, |single| single.0).ok()?;
            Some(self.single[at].1)
        };
        self.any.or_else(single)
    }
}

/// Networks of one family: first and last address with the entry. Sorted, and none within another.
#[derive(Clone)]
struct Networks<Ip>(Vec<(Ip, Ip, usize)>);

impl<Ip: Ord + Copy> Networks<Ip> {
    fn arrange(&mut self) {
        self.0.sort_unstable_by_key(|&(first, last, entry)| (first, std::cmp::Reverse(last), entry));
        // Networks lie within one another or apart.
        let mut end = None;
        self.0.retain(|&(_, last, _)| {
            let outside = end.is_none_or(|end| end < last);
            end = end.max(Some(last));
            outside
        });
    }

    fn find(&self, ip: Ip) -> Option<usize> {
        let after = self.0.partition_point(|&(first, _, _)| first <= ip);
        let &(_, last, entry) = self.0.get(after.checked_sub(1)?)?;
        (ip <= last).then_some(entry)
    }
}

impl<Ip> Default for Networks<Ip> {
    fn default() -> Self {
        Self(Vec::new())
    }
}
