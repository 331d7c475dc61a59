//! Whether a target takes the proxy: our matcher, and the one that reqwest's `NoProxy` is made of, in the same run.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion};
use hyper_util::client::proxy::matcher::Matcher;
use scm_transport::NoProxy;
use url::Url;

const SIZES: [usize; 3] = [10, 1_000, 10_000];

/// What both understand: names and networks. Half of the targets match, and what matches stands last.
fn list(size: usize) -> String {
    let names = size * 7 / 10;
    let names = (0..names).map(|n| format!("host{n}.corp.example"));
    let networks = (0..size - names.len()).map(|n| format!("10.{}.{}.0/24", n / 250, n % 250));
    names.chain(networks).collect::<Vec<_>>().join(",")
}

fn targets(size: usize) -> [(&'static str, Url); 4] {
    let (names, networks) = (size * 7 / 10, size - size * 7 / 10);
    let last = networks - 1;
    [
        ("name, none", "https://gitlab.host.corp.example/api/v4".to_owned()),
        ("name, last", format!("https://git.host{}.corp.example/api/v4", names - 1)),
        ("address, none", "https://192.168.7.9:8443/api/v4".to_owned()),
        ("address, last", format!("https://10.{}.{}.7/api/v4", last / 250, last % 250)),
    ]
    .map(|(what, url)| (what, url.parse().expect("a URL")))
}

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    for size in SIZES {
        let list = list(size);
        let ours = NoProxy::parse(&list);
        assert_eq!((ours.entries().len(), ours.malformed().len()), (size, 0));
        let peer = Matcher::builder().all("http://proxy.example:3128").no(list).build();
        for (what, url) in targets(size) {
            let uri: http::Uri = url.as_str().parse().expect("a URI");
            assert_eq!(ours.decide(&url).is_direct(), what.ends_with("last"), "{what}");
            assert_eq!(peer.intercept(&uri).is_none(), what.ends_with("last"), "{what}");
            let mut group = criterion.benchmark_group(what);
            group.bench_with_input(BenchmarkId::new("ours", size), &url, |b, url| {
                b.iter(|| black_box(ours.decide(black_box(url)).is_direct()));
            });
            group.bench_with_input(BenchmarkId::new("reqwest's", size), &uri, |b, uri| {
                b.iter(|| black_box(peer.intercept(black_box(uri)).is_none()));
            });
            group.finish();
        }
    }
    criterion.final_summary();
}
