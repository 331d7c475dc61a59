//! Certificates and handshakes, by nginx with authorities of our own.

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use scm_client::core::{Clock as _, Code, Rung, SystemClock};
use scm_testkit::fault::program::Program;
use scm_testkit::sim::bitbucket_dc::BitbucketDcSim;
use scm_testkit::sim::gitlab::GitLabSim;

use super::{BOTH, Connection, Section, needed};

/// Who signs, with its own certificate.
pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(super) pem: String,
}

impl Authority {
    fn new(name: &str, above: Option<&Self>) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let pem = match above {
            Some(above) => params.signed_by(&key, &above.issuer).unwrap().pem(),
            None => params.self_signed(&key).unwrap().pem(),
        };
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// Certificate and key of a server.
    fn issue(&self, name: &str, ends: (i32, u8, u8)) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "git.company.com");
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(ends.0, ends.1, ends.2);
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }
}

/// Certificate and key as `openssl req -x509` makes them: the server is its own authority.
fn own_authority(name: &str) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "git.company.com");
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

fn trusting(pem: &str) -> String {
    format!("network = {{ ca = {{ value = \"\"\"{pem}\"\"\" }} }}")
}

fn identity_lines(ca: &str, certificate: &str, key: &str) -> String {
    format!(
        "network = {{ ca = {{ value = \"\"\"{ca}\"\"\" }}, client_cert = \"\"\"{certificate}\"\"\", client_key = \"\"\"{key}\"\"\" }}"
    )
}

/// Servers with one fault each.
pub(super) struct Rig {
    pub(super) root: Authority,
    pub(super) opener: Authority,
    pub(super) nginx: Program,
}

/// What is wrong with the servers of a [`Rig`], by their places, where the root is known. Those at 0 and 9 are in order.
pub(super) const FAULTS: [(usize, Code, &str); 8] = [
    (1, Code::TlsUnknownIssuer, "the server does not send the intermediate certificate"),
    (2, Code::TlsExpired, "an expired certificate"),
    (3, Code::TlsNameMismatch, "a certificate for another name"),
    (4, Code::TlsNotTls, "the port speaks plain HTTP"),
    (5, Code::TlsClientCertRequired, "nginx asks for a client certificate"),
    (6, Code::TlsHandshake, "a server that offers nothing newer than TLS 1.1"),
    (7, Code::TlsExpiresSoon, "a certificate that ends in five days"),
    (10, Code::TlsUnknownIssuer, "the server has signed its certificate itself"),
];

/// The certificate of the server at this place is of an interceptor.
pub(super) const OPENED: usize = 8;

impl Rig {
    /// In front of the server at `sim`. `None`, said aloud, where nginx is not installed.
    pub(super) async fn start(section: &mut Section, sim: &str) -> Option<Self> {
        let root = Authority::new("Company Root CA", None);
        let middle = Authority::new("Company Issuing CA", Some(&root));
        let opener = Authority::new("Company SSL Inspection", None);
        let soon = SystemClock.now().date().saturating_add_days(5);
        section.stable(soon, "2031-02-03");
        let soon = soon.to_string();
        let soon: Vec<_> = soon.split('-').map(|part| part.parse::<u16>().unwrap()).collect();
        let soon = (soon[0].into(), soon[1].try_into().unwrap(), soon[2].try_into().unwrap());
        let (here, later) = ("127.0.0.1", (2050, 1, 1));
        let issued = [
            ("good", root.issue(here, later)),
            ("middle", middle.issue(here, later)),
            ("expired", root.issue(here, (2021, 2, 3))),
            ("other", root.issue("git.company.com", later)),
            ("soon", root.issue(here, soon)),
            ("opened", opener.issue(here, later)),
            ("own", own_authority(here)),
        ];
        let mut files = vec![("root.pem".to_owned(), root.pem.clone())];
        for (name, (certificate, key)) in &issued {
            files.push((format!("{name}.pem"), certificate.clone()));
            files.push((format!("{name}.key"), key.clone()));
        }
        files.push(("whole.pem".to_owned(), format!("{}{}", issued[1].1.0, middle.pem)));
        let files: Vec<_> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
        let server = |index: usize, pem: &str, key: &str, more: &str| {
            format!(
                "server {{ listen 127.0.0.1:PORT{index} ssl; ssl_certificate DIR/{pem}.pem; ssl_certificate_key DIR/{key}.key; \
                 {more} location / {{ proxy_pass {sim}; }} }}\n"
            )
        };
        let servers = [
            server(0, "good", "good", ""),
            server(1, "middle", "middle", ""),
            server(2, "expired", "expired", ""),
            server(3, "other", "other", ""),
            "server { listen 127.0.0.1:PORT4; return 200 hello; }\n".to_owned(),
            server(5, "good", "good", "ssl_verify_client on; ssl_client_certificate DIR/root.pem;"),
            server(6, "good", "good", "ssl_protocols TLSv1.1; ssl_ciphers ALL:@SECLEVEL=0;"),
            server(7, "soon", "soon", ""),
            server(OPENED, "opened", "opened", ""),
            server(9, "whole", "middle", ""),
            server(10, "own", "own", ""),
        ];
        let nginx = needed("nginx", Program::nginx(servers.len(), &servers.concat(), &files).await)?;
        for address in nginx.addresses() {
            section.stable(address.port(), "443");
        }
        Some(Self { root, opener, nginx })
    }

    pub(super) fn url(&self, index: usize) -> String {
        format!("https://{}/", self.nginx.addresses()[index])
    }
}

#[tokio::test]
async fn each_fault_has_its_code() {
    let mut section = Section::new("TLS");
    let gitlab = GitLabSim::builder().seed_demo().start().await.unwrap();
    let bitbucket = BitbucketDcSim::builder().seed_demo().start().await.unwrap();
    let sims = [
        (gitlab.url(), gitlab.tokens()[0].token.clone()),
        (bitbucket.url(), bitbucket.tokens()[0].token.clone()),
    ];
    for (provider, (sim, token)) in BOTH.into_iter().zip(sims) {
        let Some(rig) = Rig::start(&mut section, &sim).await else { return };
        let Rig { root, opener, nginx } = &rig;
        let later = (2050, 1, 1);
        let to = |index: usize| Connection::to(provider, rig.url(index)).token(&token);
        let known = trusting(&root.pem);
        for index in [0, 9] {
            let report = to(index).with(&known).check().await;
            assert!(report.is_ok(), "{report}");
        }
        let report = to(0).with(known.replace(" } }", " }, ca_only = true }")).check().await;
        assert!(report.is_ok(), "{report}");

        let report = to(0).check().await;
        section.found(Code::TlsUnknownIssuer, "the company's own CA is not given", &report);
        let report = to(0).with(trusting(&opener.pem)).check().await;
        section.found(Code::TlsUnknownIssuer, "the company's own CA is not given", &report);
        for (index, code, cause) in FAULTS {
            section.found(code, cause, &to(index).with(&known).check().await);
        }
        let cause = "a proxy opens TLS on the way; its CA is given";
        let report = to(OPENED).with(trusting(&opener.pem)).check().await;
        section.found(Code::TlsIntercepted, cause, &report);
        assert!(report.is_ok(), "{report}");
        let report = to(OPENED).with(&known).check().await;
        assert!(report.has(Code::TlsIntercepted) && report.has(Code::TlsUnknownIssuer), "{report}");
        let tls = report.rungs.iter().find(|rung| rung.rung == Rung::Tls).unwrap();
        assert!(
            tls.seen.contains("issuer: CN=Company SSL Inspection, subject: CN=git.company.com"),
            "{report}"
        );

        // The client certificate that the server knows.
        let (certificate, key) = root.issue("client", later);
        let identity = identity_lines(&root.pem, &certificate, &key);
        let report = to(5).with(&identity).check().await;
        assert!(report.is_ok(), "{report}");
        let (certificate, key) = opener.issue("client", later);
        let stranger = identity_lines(&root.pem, &certificate, &key);
        let report = to(5).with(stranger).check().await;
        section.found(Code::TlsClientCertRequired, "nginx does not accept the client certificate", &report);

        let plain = Connection::to(provider, format!("http://{}/", nginx.addresses()[0])).token(&token);
        section.found(
            Code::UrlInvalid,
            "http:// in the URL, to a port that speaks TLS",
            &plain.check().await,
        );
    }
    section.assert_on_page();
}
