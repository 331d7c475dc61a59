//! What an agent lets through. It decides for itself, whatever the hub says: deny by default.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use http::header::{self, HeaderMap, HeaderName};
use http::{Method, Uri};
use percent_encoding::percent_decode_str;
use scm_core::{Error, Result};
use url::{Host, Url};

use super::presets;

/// Request headers that pass. Others are dropped: a server may take any of them for an order.
const PASS: &[&str] = &[
    "accept",
    "accept-encoding",
    "authorization",
    "cache-control",
    "content-encoding",
    "content-type",
    "git-protocol",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-unmodified-since",
    "pragma",
    "private-token",
    "range",
    "traceparent",
    "tracestate",
    "user-agent",
    "x-atlassian-token",
    "x-request-id",
];

/// Request headers that are no accident: another method or another user than the rest of the request says.
const SMUGGLED: &[&str] =
    &["job-token", "sudo", "x-http-method", "x-http-method-override", "x-method-override", "x-sudo"];

/// The same, and credentials, as query parameters.
const SMUGGLED_PARAMETERS: &[&str] = &[
    "_method",
    "access_token",
    "bearer_token",
    "feed_token",
    "job_token",
    "oauth_token",
    "os_password",
    "os_username",
    "private_token",
    "static_object_token",
    "sudo",
];

/// What a loopback address is.
const OWN_MACHINE: &str = "an address of the agent's own machine";

/// How often a segment may be encoded.
const LAYERS: usize = 5;

/// What an agent may reach: nothing that is not listed.
///
/// ```
/// # fn main() -> scm_core::Result<()> {
/// use scm_relay::agent::Policy;
///
/// let policy = Policy::new()
///     .with("https://gitlab.company.com=gitlab".parse()?)
///     .with("https://git.company.com/bitbucket=bitbucket-dc:read,clone".parse()?);
/// # let _ = policy;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Policy {
    allowed: Vec<Allow>,
    addresses: Vec<IpAddr>,
}

impl Policy {
    /// Nothing is allowed.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Allows `entry`, too.
    #[must_use]
    pub fn with(mut self, entry: Allow) -> Self {
        self.allowed.push(entry);
        self
    }

    /// Lets names lead to `address`, and origins be it, which nothing may otherwise: of this machine, link-local, or of a
    /// cloud's metadata. An origin that is written as an address of this machine needs no leave.
    #[must_use]
    pub fn with_address(mut self, address: IpAddr) -> Self {
        self.addresses.push(address);
        self
    }

    /// What is allowed.
    pub fn allowed(&self) -> &[Allow] {
        &self.allowed
    }

    /// May this request go out, and by which rule? `bare` says that it has no body.
    pub(crate) fn decide(
        &self,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
        bare: bool,
    ) -> std::result::Result<Allowed<'_>, Denied> {
        let origin = Origin::of(uri).ok_or(Denied::NoOrigin)?;
        self.reachable(&origin)?;
        let path = segments(uri.path()).map_err(Denied::Path)?;
        let query = uri.query().unwrap_or_default();
        if let Some(name) = SMUGGLED.iter().find(|name| headers.contains_key(**name)) {
            return Err(Denied::Header(name));
        }
        if let Some(name) = smuggled_parameter(query) {
            return Err(Denied::Parameter(name));
        }
        let mut denied = None;
        for entry in self.allowed.iter().filter(|entry| entry.place.origin == origin) {
            let Some(path) = path.strip_prefix(entry.place.root.as_slice()) else { continue };
            let Some((grant, rule)) = presets::matching(entry.preset, method, path, query) else { continue };
            if entry.preset != Preset::Any && !bare && is_form(headers) {
                denied = Some(Denied::Form);
            } else if entry.grants(grant) {
                return Ok(Allowed { entry, grant, rule });
            } else {
                denied = Some(Denied::Grant { grant, entry: entry.to_string() });
            }
        }
        Err(match denied {
            Some(denied) => denied,
            None if path.iter().any(|segment| segment.twice) => Denied::Path("is encoded twice"),
            None => Denied::Rule(method.clone(), origin),
        })
    }

    /// Is anything allowed on the server of `url`?
    pub(crate) fn knows(&self, url: &Url) -> std::result::Result<(), Denied> {
        self.reachable(&Origin::of_url(url).ok_or(Denied::NoOrigin)?)
    }

    /// Is it on the list? An origin that is an address is as good as one that a name leads to.
    fn reachable(&self, origin: &Origin) -> std::result::Result<(), Denied> {
        if !self.allowed.iter().any(|entry| entry.place.origin == *origin) {
            return Err(Denied::Origin(origin.clone()));
        }
        let address = match origin.host {
            Host::Ipv4(ip) => IpAddr::V4(ip),
            Host::Ipv6(ip) => IpAddr::V6(ip),
            Host::Domain(_) => return Ok(()),
        };
        match self.refuses(address) {
            // Whoever lists it so means it.
            Some(OWN_MACHINE) | None => Ok(()),
            Some(what) => Err(Denied::Address { host: origin.host.to_string(), address, what }),
        }
    }

    /// Why no name may lead to `address`, where that is so: it is of the agent's own machine, link-local, or of a cloud's
    /// metadata. Whoever resolves names for an agent asks this of every address, and dials no other.
    pub fn refuses(&self, address: IpAddr) -> Option<&'static str> {
        if self.addresses.iter().any(|listed| listed.to_canonical() == address.to_canonical()) {
            return None;
        }
        private_matter(address)
    }
}

/// A request that may go out.
#[derive(Debug)]
pub(crate) struct Allowed<'a> {
    /// By what.
    pub(crate) entry: &'a Allow,
    pub(crate) grant: Grant,
    /// Its name, for the audit line.
    pub(crate) rule: &'static str,
}

/// One server, and what may be done there.
///
/// It is written `ORIGIN=PRESET`, or `ORIGIN=PRESET:GRANT,GRANT...`: the preset is `gitlab`, `bitbucket-dc` or `any`, a grant
/// is `read`, `write`, `clone` or `push`. Without grants the preset allows all four, which is what this crate family needs.
/// The origin may have a path where the server is not at the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allow {
    place: Place,
    preset: Preset,
    grants: Option<Vec<Grant>>,
}

impl Allow {
    /// Where the server is.
    pub(crate) fn url(&self) -> String {
        self.place.to_string()
    }

    pub(crate) fn preset(&self) -> Preset {
        self.preset
    }

    /// Is this place the server, or does it hold it?
    pub(crate) fn is_within(&self, place: &Place) -> bool {
        self.place.origin == place.origin && self.place.root.starts_with(&place.root)
    }

    /// Is this the name of its host?
    pub(crate) fn is_at(&self, name: &str) -> bool {
        matches!(&self.place.origin.host, Host::Domain(own) if own.eq_ignore_ascii_case(name.trim_end_matches('.')))
    }

    fn grants(&self, grant: Grant) -> bool {
        self.grants.as_ref().is_none_or(|grants| grants.contains(&grant))
    }
}

impl FromStr for Allow {
    type Err = Error;

    /// # Errors
    /// `Config`, with an example.
    fn from_str(text: &str) -> Result<Self> {
        let wrong = |what: &str| {
            Error::config(format!(
                "the allow entry {text:?} {what}; it is written like https://gitlab.company.com=gitlab or \
                 https://git.company.com/bitbucket=bitbucket-dc:read,clone"
            ))
        };
        let (origin, what) = text.trim().rsplit_once('=').ok_or_else(|| wrong("has no preset"))?;
        let place = Place::parse(origin).map_err(wrong)?;
        let (preset, grants) = match what.split_once(':') {
            Some((preset, grants)) => (preset, Some(grants)),
            None => (what, None),
        };
        let preset = Preset::ALL.into_iter().find(|known| known.as_str() == preset);
        let preset =
            preset.ok_or_else(|| wrong("names no preset that there is: gitlab, bitbucket-dc or any"))?;
        let grants = match grants {
            None => None,
            Some(_) if preset == Preset::Any => {
                return Err(wrong("limits the preset any, which knows no grants"));
            }
            Some(grants) => {
                let known = |name: &str| Grant::ALL.into_iter().find(|grant| grant.as_str() == name.trim());
                let grants: Option<Vec<_>> = grants.split(',').map(known).collect();
                Some(
                    grants
                        .ok_or_else(|| wrong("names no grant that there is: read, write, clone or push"))?,
                )
            }
        };
        Ok(Self { place, preset, grants })
    }
}

impl fmt::Display for Allow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.place, self.preset.as_str())?;
        for (index, grant) in self.grants.iter().flatten().enumerate() {
            write!(f, "{}{}", if index == 0 { ':' } else { ',' }, grant.as_str())?;
        }
        Ok(())
    }
}

/// Rules of method and path for one product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Preset {
    GitLab,
    BitbucketDc,
    Any,
}

impl Preset {
    const ALL: [Self; 3] = [Self::GitLab, Self::BitbucketDc, Self::Any];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::GitLab => "gitlab",
            Self::BitbucketDc => "bitbucket-dc",
            Self::Any => "any",
        }
    }
}

/// A part of what a preset allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Grant {
    /// REST, without changing anything.
    Read,
    /// REST that changes something.
    Write,
    /// git, reading.
    Clone,
    /// git, writing.
    Push,
    /// What the preset `any` knows.
    Any,
}

impl Grant {
    const ALL: [Self; 4] = [Self::Read, Self::Write, Self::Clone, Self::Push];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Clone => "clone",
            Self::Push => "push",
            Self::Any => "any",
        }
    }
}

/// An origin, with the path of a server that is not at its root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    origin: Origin,
    root: Vec<Segment>,
}

impl Place {
    /// Or what is wrong with `text`.
    pub(crate) fn parse(text: &str) -> std::result::Result<Self, &'static str> {
        let url = Url::parse(text).map_err(|_| "does not start with an origin")?;
        let more = url.query().is_some() || url.fragment().is_some();
        if more || !url.username().is_empty() || url.password().is_some() {
            return Err("has more than scheme, host, port and path");
        }
        let origin = Origin::of_url(&url).ok_or("is neither http nor https")?;
        let root = url.path().trim_end_matches('/');
        let root = if root.is_empty() { Vec::new() } else { segments(root)? };
        Ok(Self { origin, root })
    }

    /// Can others read what goes there?
    pub(crate) fn is_plain(&self) -> bool {
        !self.origin.tls
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.origin)?;
        self.root.iter().try_for_each(|segment| write!(f, "/{}", segment.text))
    }
}

/// Scheme, host and port, in one spelling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    tls: bool,
    host: Host,
    port: u16,
}

impl Origin {
    fn of(uri: &Uri) -> Option<Self> {
        // A user name would be a second opinion about the host.
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'))?;
        Self::of_url(&Url::parse(&format!("{}://{authority}/", uri.scheme_str()?)).ok()?)
    }

    fn of_url(url: &Url) -> Option<Self> {
        let tls = match url.scheme() {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let host = match url.host()?.to_owned() {
            Host::Domain(name) => Host::Domain(name.trim_end_matches('.').to_owned()),
            Host::Ipv6(ip) => ip.to_ipv4_mapped().map_or(Host::Ipv6(ip), Host::Ipv4),
            other => other,
        };
        Some(Self { tls, host, port: url.port_or_known_default()? })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, usual) = if self.tls { ("https", 443) } else { ("http", 80) };
        write!(f, "{scheme}://{}", self.host)?;
        if self.port == usual { Ok(()) } else { write!(f, ":{}", self.port) }
    }
}

/// A request that may not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Denied {
    #[error("the target is no http or https origin")]
    NoOrigin,
    #[error("the agent does not allow {0}: add an entry like {0}=gitlab to its allow list")]
    Origin(Origin),
    #[error(
        "the agent refuses {}, {what}; if that is meant, list it in the agent's settings: allowAddresses = \
         [\"{address}\"], or --allow-address {address}", leads_to(host, *address)
    )]
    Address { host: String, address: IpAddr, what: &'static str },
    #[error("the agent refuses the path: it {0}")]
    Path(&'static str),
    #[error("the agent refuses the header {0}")]
    Header(&'static str),
    #[error("the agent refuses the query parameter {0}")]
    Parameter(&'static str),
    #[error("the agent refuses bodies that are forms, or of no type: a form may name another method")]
    Form,
    #[error("no rule of the agent's allow list for {1} covers this {0} request")]
    Rule(Method, Origin),
    #[error("the agent's allow entry {entry} does not grant {}", .grant.as_str())]
    Grant { grant: Grant, entry: String },
}

fn leads_to(host: &str, address: IpAddr) -> String {
    if host.trim_matches(['[', ']']).parse() == Ok(address) {
        return host.to_owned();
    }
    format!("{host}: it leads to {address}")
}

/// Takes out what does not pass.
pub(crate) fn keep_allowed_headers(headers: &mut HeaderMap) {
    let dropped: Vec<HeaderName> =
        headers.keys().filter(|name| !PASS.contains(&name.as_str())).cloned().collect();
    for name in dropped {
        headers.remove(name);
    }
}

/// A segment of a path, decoded once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) text: String,
    /// It can be decoded once more: a name such as `100%25` has that, and so has a trick.
    pub(crate) twice: bool,
}

/// The segments of a path, split at raw slashes and decoded once.
fn segments(path: &str) -> std::result::Result<Vec<Segment>, &'static str> {
    let path = path.strip_prefix('/').ok_or("does not start with a slash")?;
    if path.is_empty() {
        return Ok(Vec::new());
    }
    path.split('/').map(segment).collect()
}

fn segment(raw: &str) -> std::result::Result<Segment, &'static str> {
    if raw.contains(';') {
        // Tomcat cuts a segment there, before it looks for dots.
        return Err("has a semicolon");
    }
    if escapes(raw) != raw.matches('%').count() {
        return Err("has a % that encodes nothing");
    }
    let Ok(text) = percent_decode_str(raw).decode_utf8() else { return Err("is not UTF-8") };
    // Something on the way may decode once more than it should: no layer may hold a trick.
    let mut layer = text.clone();
    for _ in 0..LAYERS {
        harmless(&layer)?;
        if escapes(&layer) == 0 {
            return Ok(Segment { twice: escapes(&text) > 0, text: text.into_owned() });
        }
        layer = percent_decode_str(&layer).decode_utf8_lossy().into_owned().into();
    }
    Err("is encoded too often")
}

fn harmless(text: &str) -> std::result::Result<(), &'static str> {
    if text.contains('\\') {
        return Err("has a backslash");
    }
    if text.contains(char::is_control) {
        return Err("has a control character");
    }
    // The same for an encoded slash, and Tomcat cuts at semicolons.
    for piece in text.split('/') {
        match piece.split(';').next().unwrap_or_default() {
            "" => return Err("has an empty segment"),
            "." | ".." => return Err("has a dot segment"),
            _ => {}
        }
    }
    Ok(())
}

/// How many bytes are encoded in `text`.
fn escapes(text: &str) -> usize {
    let is_escape =
        |window: &&[u8]| matches!(window, [b'%', a, b] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit());
    text.as_bytes().windows(3).filter(is_escape).count()
}

/// Servers differ in what separates parameters, what they trim, and how they write lists: the strictest reading of all.
fn smuggled_parameter(query: &str) -> Option<&'static str> {
    let names = query.split(['&', ';']).map(|pair| {
        let name = pair.split('=').next().unwrap_or_default().replace('+', " ");
        percent_decode_str(&name).decode_utf8_lossy().into_owned()
    });
    for name in names {
        let name = name.trim().trim_start_matches(['[', ']']);
        let name = name.split(['[', ']']).next().unwrap_or_default().to_ascii_lowercase();
        if let Some(found) = SMUGGLED_PARAMETERS.iter().find(|smuggled| **smuggled == name) {
            return Some(found);
        }
    }
    None
}

/// Would a server read the body as a form, in which `_method` names another method?
fn is_form(headers: &HeaderMap) -> bool {
    let Some(kind) = headers.get(header::CONTENT_TYPE) else { return true };
    let kind = kind.as_bytes().to_ascii_lowercase();
    let kind = kind.trim_ascii();
    // Nothing said is no type said.
    kind.is_empty()
        || headers.get_all(header::CONTENT_TYPE).iter().count() > 1
        || kind.starts_with(b"application/x-www-form-urlencoded")
        || kind.starts_with(b"multipart/")
}

/// Addresses that no name of a server may lead to, and what they are.
fn private_matter(address: IpAddr) -> Option<&'static str> {
    let v4 = match address.to_canonical() {
        IpAddr::V4(ip) => ip,
        IpAddr::V6(ip) => match embedded(ip) {
            Some(ip) => ip,
            None => {
                return match ip.segments() {
                    _ if ip.is_loopback() => Some(OWN_MACHINE),
                    _ if ip.is_unspecified() => Some("no address of a server"),
                    [0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x254] | [0xfd20, 0x00ce, 0, 0, 0, 0, 0, 0x254] => {
                        Some("the cloud's metadata service")
                    }
                    [first, ..] if first & 0xffc0 == 0xfe80 => Some("a link-local address"),
                    [first, ..] if first & 0xff00 == 0xff00 => Some("a multicast address"),
                    _ => None,
                };
            }
        },
    };
    match v4.octets() {
        [127, ..] => Some(OWN_MACHINE),
        [169, 254, 169, 254] | [100, 100, 100, 200] | [168, 63, 129, 16] | [192, 0, 0, 192] => {
            Some("the cloud's metadata service")
        }
        [169, 254, ..] => Some("a link-local address"),
        [0, ..] => Some("no address of a server"),
        [224..=239, ..] | [255, 255, 255, 255] => Some("a multicast address"),
        _ => None,
    }
}

/// The IPv4 address that a translator would make of an IPv6 one.
fn embedded(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let join = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Ipv4Addr::new(a, b, c, d)
    };
    match ip.segments() {
        // ::a.b.c.d, but not :: and ::1
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 || low > 1 => Some(join(high, low)),
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(join(high, low)),
        // A network's own translator (RFC 8215): by a prefix of 48 bits, the address goes around the ninth octet; by one of 96, it
        // is last.
        [0x64, 0xff9b, 1, high, rest, more, ..] if high != 0 => {
            let ([low, _], [high_byte, _]) = ((rest << 8 | more >> 8).to_be_bytes(), more.to_be_bytes());
            Some(join(high, u16::from_be_bytes([low, high_byte])))
        }
        [0x64, 0xff9b, 1, .., high, low] => Some(join(high, low)),
        [0x2002, high, low, ..] => Some(join(high, low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
