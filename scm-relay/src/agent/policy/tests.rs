//! Tables of literals: what a request is, and what becomes of it.

use scm_core::ErrorKind;

use super::*;

const GITLAB: &str = "https://git.test=gitlab";
const BITBUCKET: &str = "https://git.test:8443/bitbucket=bitbucket-dc";

fn decide(allow: &[&str], request: &str, headers: &[(&str, &str)], bare: bool) -> String {
    let policy = allow.iter().fold(Policy::new(), |policy, entry| policy.with(entry.parse().unwrap()));
    let (method, uri) = request.split_once(' ').unwrap();
    let headers: HeaderMap = headers
        .iter()
        .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap()))
        .collect();
    match policy.decide(&method.parse().unwrap(), &uri.parse().unwrap(), &headers, bare) {
        Ok(allowed) => allowed.rule.to_owned(),
        Err(denied) => denied.to_string(),
    }
}

fn bare(allow: &[&str], request: &str) -> String {
    decide(allow, request, &[], true)
}

#[test]
fn gitlab_lets_through_what_the_sdk_does_and_no_more() {
    for (request, rule) in [
        ("GET /api/v4/version", "api/v4/version"),
        ("GET /api/v4/projects?per_page=100&id_after=7", "api/v4/projects"),
        ("GET /api/v4/projects/group%2Fsub%2Frepo", "api/v4/projects/*"),
        ("HEAD /api/v4/projects/7/repository/files/a%2Fb.txt?ref=main", "api/v4/projects/*/repository/**"),
        ("GET /api/v4/projects/7/repository/files/100%25.txt/raw", "api/v4/projects/*/repository/**"),
        (
            "GET /api/v4/projects/7/repository/files/per%25cent%2520%2Fa%252Fb.txt",
            "api/v4/projects/*/repository/**",
        ),
        (
            "DELETE /api/v4/projects/7/repository/branches/per%252Fcent",
            "api/v4/projects/*/repository/branches/{}",
        ),
        ("GET /api/v4/projects/7/repository/archive.tar.gz", "api/v4/projects/*/repository/**"),
        ("POST /api/v4/projects/7/repository/commits", "api/v4/projects/*/repository/commits"),
        ("PUT /api/v4/projects/7/merge_requests/3/rebase", "api/v4/projects/*/merge_requests/*/rebase"),
        ("GET /api/v4/projects/7/jobs/9/trace", "api/v4/projects/*/jobs/*/trace"),
        ("GET /%61pi/v4/version", "api/v4/version"),
        ("GET /group/repo.git/info/refs?service=git-upload-pack", "clone"),
        ("POST /group/sub/repo.git/git-upload-pack", "clone"),
        ("GET /group/repo.git/info/refs?service=git-receive-pack", "push"),
        ("POST /group/repo.git/git-receive-pack", "push"),
    ] {
        let (method, path) = request.split_once(' ').unwrap();
        assert_eq!(bare(&[GITLAB], &format!("{method} https://git.test{path}")), rule, "{request}");
    }
    for request in [
        "GET /",
        "GET /users/sign_in",
        "GET /admin",
        "GET /api/v4/application/settings",
        "GET /api/v4/projects/7/variables",
        "GET /api/v4/projects/7/access_tokens",
        "GET /api/v4/projects/group/repo",
        "POST /api/v4/projects",
        "DELETE /api/v4/projects/7",
        "DELETE /api/v4/projects/7/repository/tags/v1",
        "PATCH /api/v4/projects/7/merge_requests/3",
        "POST /api/v4/personal_access_tokens/self/rotate",
        "POST /api/graphql",
        "GET /group/repo.git/info/refs",
        "GET /group/repo.git/info/refs?service=git-upload-pack&x=y",
        "GET /group/repo.git/objects/info/packs",
        "POST /group/repo.git/info/lfs/objects/batch",
        "GET /repo.git/info/refs?service=git-upload-pack",
        "POST /group/repo/git-upload-pack",
        "GET /api/v4/projects/7/repository",
    ] {
        let (method, path) = request.split_once(' ').unwrap();
        let said = bare(&[GITLAB], &format!("{method} https://git.test{path}"));
        let expected =
            format!("no rule of the agent's allow list for https://git.test covers this {method} request");
        assert_eq!(said, expected, "{request}");
    }
}

#[test]
fn bitbucket_lets_through_what_the_sdk_does_and_no_more() {
    let place = "https://git.test:8443/bitbucket";
    let repo = "/rest/api/latest/projects/PROJ/repos/web";
    for (method, path, rule) in [
        (
            "GET",
            "/rest/api/latest/application-properties".to_owned(),
            "rest/api/latest/application-properties",
        ),
        ("GET", "/plugins/servlet/applinks/whoami".to_owned(), "plugins/servlet/applinks/whoami"),
        ("GET", format!("{repo}/browse/a/b%20c.txt?at=x"), "rest/api/latest/projects/*/repos/*/browse/**"),
        (
            "GET",
            format!("{repo}/pull-requests/7/merge"),
            "rest/api/latest/projects/*/repos/*/pull-requests/**",
        ),
        (
            "DELETE",
            format!("{repo}/pull-requests/7/approve"),
            "rest/api/latest/projects/*/repos/*/pull-requests/*/approve",
        ),
        ("GET", "/scm/proj/web.git/info/refs?service=git-upload-pack".to_owned(), "clone"),
        ("POST", "/scm/~jane/web.git/git-receive-pack".to_owned(), "push"),
    ] {
        assert_eq!(bare(&[BITBUCKET], &format!("{method} {place}{path}")), rule, "{method} {path}");
    }
    for (method, path) in [
        ("GET", "/rest/api/latest/admin/users".to_owned()),
        ("GET", format!("{repo}/permissions/users")),
        ("GET", format!("{repo}/settings/hooks")),
        ("DELETE", repo.to_owned()),
        ("PUT", "/rest/access-tokens/latest/users/jane".to_owned()),
        ("GET", "/git/proj/web.git/info/refs?service=git-upload-pack".to_owned()),
        ("GET", "/plugins/servlet/upm".to_owned()),
    ] {
        let said = bare(&[BITBUCKET], &format!("{method} {place}{path}"));
        assert!(said.starts_with("no rule of the agent's allow list"), "{method} {path}: {said}");
    }
    // Beside the context path there is nothing.
    let said = bare(&[BITBUCKET], &format!("GET https://git.test:8443{repo}"));
    assert!(said.starts_with("no rule"), "{said}");
}

#[test]
fn an_origin_is_scheme_host_and_port_in_whatever_spelling() {
    let version = "/api/v4/version";
    for (allow, uri, allowed) in [
        (GITLAB, "https://git.test", true),
        (GITLAB, "https://GIT.Test:443", true),
        (GITLAB, "https://git.test.", true),
        (GITLAB, "http://git.test", false),
        (GITLAB, "https://git.test:8443", false),
        (GITLAB, "https://a.git.test", false),
        (GITLAB, "https://agit.test", false),
        (GITLAB, "https://git.test@evil.test", false),
        (GITLAB, "https://evil.test@git.test", false),
        (GITLAB, "https://169.254.169.254", false),
        ("http://127.0.0.1:8080=gitlab", "http://127.0.0.1:8080", true),
        ("http://127.0.0.1:8080=gitlab", "http://[::ffff:127.0.0.1]:8080", true),
        ("http://127.0.0.1:8080=gitlab", "http://2130706433:8080", true),
        ("http://127.0.0.1:8080=gitlab", "http://[::1]:8080", false),
        ("https://bücher.test=gitlab", "https://xn--bcher-kva.test", true),
    ] {
        let said = bare(&[allow], &format!("GET {uri}{version}"));
        assert_eq!(said == "api/v4/version", allowed, "{allow} {uri}: {said}");
    }
    assert_eq!(
        bare(&[], "GET https://git.test:8443/api/v4/version"),
        "the agent does not allow https://git.test:8443: add an entry like https://git.test:8443=gitlab to its allow list"
    );
}

#[test]
fn tricks_with_the_path_are_refused_whatever_is_allowed() {
    for (path, why) in [
        ("/api/v4/projects/../../admin", "has a dot segment"),
        ("/api/v4/projects/%2e%2e/admin", "has a dot segment"),
        ("/api/v4/projects/.%2E/admin", "has a dot segment"),
        ("/api/v4/projects/./7", "has a dot segment"),
        ("/api/v4/projects/7/..", "has a dot segment"),
        ("/api/v4/projects/a%2F..%2F..%2Fadmin", "has a dot segment"),
        ("/api/v4/projects/%252e%252e/admin", "has a dot segment"),
        ("/api/v4/projects/a%25252F..%25252Fadmin", "has a dot segment"),
        ("/api/v4/projects/a%2525252525252Fb", "is encoded too often"),
        ("/api/v4/projects/7%252Fvariables", "is encoded twice"),
        ("/g%2525/r.git/info/refs?service=git-upload-pack", "is encoded twice"),
        ("/api/v4/projects/a%25%32%66b", "is encoded twice"),
        ("/api/v4/projects/..;/admin", "has a semicolon"),
        ("/api/v4/projects/..%3Bx/admin", "has a dot segment"),
        ("/api/v4//projects", "has an empty segment"),
        ("//api/v4/projects", "has an empty segment"),
        ("/api/v4/projects/", "has an empty segment"),
        ("/api/v4/projects/a%2F%2Fb", "has an empty segment"),
        ("/api/v4/projects/%2Fb", "has an empty segment"),
        ("/api/v4/projects/a%5C..%5Cb", "has a backslash"),
        ("/api/v4/projects/a%00b", "has a control character"),
        ("/api/v4/projects/a%0D%0AX:y", "has a control character"),
        ("/api/v4/projects/%C0%AE%C0%AE/admin", "is not UTF-8"),
        ("/api/v4/projects/a%zz", "has a % that encodes nothing"),
        ("/api/v4/projects/a%2", "has a % that encodes nothing"),
    ] {
        for allow in [GITLAB, "https://git.test=any"] {
            let said = bare(&[allow], &format!("GET https://git.test{path}"));
            assert_eq!(said, format!("the agent refuses the path: it {why}"), "{path}");
        }
    }
    assert_eq!(bare(&["https://git.test=any"], "DELETE https://git.test/anything/at%20all"), "any");
}

#[test]
fn orders_that_come_beside_the_path_are_refused() {
    let version = "GET https://git.test/api/v4/version";
    for name in ["X-HTTP-Method-Override", "x-http-method", "X-Method-Override", "Sudo", "JOB-TOKEN"] {
        for allow in [GITLAB, "https://git.test=any"] {
            let said = decide(&[allow], version, &[(name, "DELETE")], true);
            assert_eq!(said, format!("the agent refuses the header {}", name.to_lowercase()));
        }
    }
    for (query, parameter) in [
        ("private_token=x", "private_token"),
        ("a=b&PRIVATE_TOKEN=x", "private_token"),
        ("a=b;private_token=x", "private_token"),
        ("%70rivate_token=x", "private_token"),
        ("+private_token=x", "private_token"),
        ("private_token[]=x", "private_token"),
        ("private_token", "private_token"),
        ("[private_token]=x", "private_token"),
        ("%5Bsudo%5D=root", "sudo"),
        ("]sudo=root", "sudo"),
        ("sudo]=root", "sudo"),
        ("_method=DELETE", "_method"),
        ("sudo=root", "sudo"),
        ("job_token=x", "job_token"),
        ("access_token=x", "access_token"),
        ("os_username=a&os_password=b", "os_username"),
    ] {
        let said = bare(&[GITLAB], &format!("{version}?{query}"));
        assert_eq!(said, format!("the agent refuses the query parameter {parameter}"), "{query}");
    }
    assert_eq!(bare(&[GITLAB], &format!("{version}?search=private_token&x[sudo]=1")), "api/v4/version");

    let note = "POST https://git.test/api/v4/projects/7/merge_requests/3/notes";
    let rule = "api/v4/projects/*/merge_requests/*/notes";
    for (kind, allowed) in [
        (Some("application/json"), true),
        (Some("application/json; charset=utf-8"), true),
        (Some("Application/X-WWW-form-urlencoded"), false),
        (Some("multipart/form-data; boundary=x"), false),
        (None, false),
        (Some(""), false),
        (Some(" "), false),
    ] {
        let headers: Vec<_> = kind.map(|kind| ("content-type", kind)).into_iter().collect();
        let said = decide(&[GITLAB], note, &headers, false);
        assert_eq!(said == rule, allowed, "{kind:?}: {said}");
    }
    assert_eq!(bare(&[GITLAB], note), rule);
}

#[test]
fn no_server_is_asked_to_say_what_it_was_sent() {
    for method in ["TRACE", "CONNECT"] {
        let said = bare(&["https://git.test=any"], &format!("{method} https://git.test/"));
        assert!(said.contains("no rule"), "{method}: {said}");
    }
}

#[test]
fn grants_are_apart() {
    let clone = "GET https://git.test/g/r.git/info/refs?service=git-upload-pack";
    let push = "POST https://git.test/g/r.git/git-receive-pack";
    let read = "GET https://git.test/api/v4/user";
    let write = "POST https://git.test/api/v4/projects/7/repository/branches";
    for (grants, expected) in [
        ("read", [true, false, false, false]),
        ("read,write", [true, true, false, false]),
        ("clone", [false, false, true, false]),
        ("push,clone", [false, false, true, true]),
    ] {
        let allow = format!("{GITLAB}:{grants}");
        let seen =
            [read, write, clone, push].map(|request| !bare(&[&allow], request).contains("does not grant"));
        assert_eq!(seen, expected, "{grants}");
    }
    let allow = "https://git.test=gitlab:clone";
    assert_eq!(bare(&[allow], push), format!("the agent's allow entry {allow} does not grant push"));
    // A second entry for the same server adds to the first.
    assert_eq!(bare(&[allow, "https://git.test=gitlab:push"], push), "push");
}

#[test]
fn entries_read_back_as_they_were_written_and_wrong_ones_come_with_an_example() {
    for text in [
        "https://gitlab.company.com=gitlab",
        "http://10.0.0.7:8080=any",
        "https://git.company.com:8443/bitbucket=bitbucket-dc:read,clone",
        "http://[fd00::1]:7990=bitbucket-dc",
    ] {
        assert_eq!(text.parse::<Allow>().unwrap().to_string(), text);
    }
    assert_eq!("HTTPS://Git.Test:443/=gitlab".parse::<Allow>().unwrap(), GITLAB.parse().unwrap());
    for (text, why) in [
        ("https://git.test", "has no preset"),
        ("git.test=gitlab", "does not start with an origin"),
        ("ftp://git.test=gitlab", "is neither http nor https"),
        ("https://git.test=gitea", "names no preset"),
        ("https://git.test=gitlab:admin", "names no grant"),
        ("https://git.test=gitlab:", "names no grant"),
        ("https://git.test=any:read", "limits the preset any"),
        ("https://u:p@git.test=gitlab", "has more than scheme, host, port and path"),
        ("https://git.test/?a=gitlab", "has more than scheme, host, port and path"),
        ("", "has no preset"),
    ] {
        let error = text.parse::<Allow>().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains(why), "{text}: {error}");
        assert!(error.to_string().contains("https://gitlab.company.com=gitlab"), "{error}");
    }
}

#[test]
fn only_headers_on_the_list_pass() {
    let all = [
        "accept",
        "authorization",
        "content-type",
        "git-protocol",
        "private-token",
        "range",
        "x-atlassian-token",
        "connection",
        "cookie",
        "forwarded",
        "host",
        "keep-alive",
        "proxy-authorization",
        "scm-hub-key",
        "te",
        "upgrade",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-original-url",
        "x-rewrite-url",
    ];
    let mut headers: HeaderMap =
        all.iter().map(|name| (HeaderName::from_static(name), "x".parse().unwrap())).collect();
    keep_allowed_headers(&mut headers);
    let mut kept: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
    kept.sort_unstable();
    assert_eq!(
        kept,
        [
            "accept",
            "authorization",
            "content-type",
            "git-protocol",
            "private-token",
            "range",
            "x-atlassian-token"
        ]
    );
}

#[test]
fn names_do_not_lead_to_the_machine_itself_or_to_the_clouds_secrets() {
    let policy = Policy::new();
    for (address, refused) in [
        ("127.0.0.1", true),
        ("127.9.9.9", true),
        ("::1", true),
        ("::ffff:127.0.0.1", true),
        ("::127.0.0.1", true),
        ("64:ff9b::7f00:1", true),
        ("2002:7f00:1::", true),
        ("0.0.0.0", true),
        ("::", true),
        ("169.254.169.254", true),
        ("169.254.0.1", true),
        ("::ffff:169.254.169.254", true),
        ("64:ff9b::a9fe:a9fe", true),
        ("100.100.100.200", true),
        ("168.63.129.16", true),
        ("fd00:ec2::254", true),
        ("fd20:ce::254", true),
        ("64:ff9b:1::a9fe:a9fe", true),
        ("64:ff9b:1:a9fe:a9:fe00::", true),
        ("fe80::1", true),
        ("febf::1", true),
        ("224.0.0.1", true),
        ("255.255.255.255", true),
        ("ff02::1", true),
        ("10.0.0.7", false),
        ("172.16.0.1", false),
        ("192.168.1.1", false),
        ("100.64.0.1", false),
        ("203.0.113.9", false),
        ("fd00::1", false),
        ("fec0::1", false),
        ("2001:db8::1", false),
        ("64:ff9b::a00:7", false),
    ] {
        assert_eq!(policy.refuses(address.parse().unwrap()).is_some(), refused, "{address}");
    }
    let policy = policy.with_address(Ipv4Addr::LOCALHOST.into());
    assert_eq!(policy.refuses("127.0.0.1".parse().unwrap()), None);
    assert_eq!(policy.refuses("::ffff:127.0.0.1".parse().unwrap()), None);
    assert!(policy.refuses("127.0.0.2".parse().unwrap()).is_some());
}
