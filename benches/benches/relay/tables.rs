//! What was measured, and what became of the aims.

use comfy_table::{CellAlignment, Table, presets};

use crate::rivals::{DIRECT, IN_PROCESS, RATHOLE, SNYK, STAND_ALONE};
use crate::{CALLERS, Figures, Round, Small};

/// `megabytes` are those of a large body.
pub(crate) fn render(all: &[Figures], megabytes: f64) -> String {
    let aims = [false, true].map(|tls| {
        let of: Vec<&Figures> = all.iter().filter(|figures| figures.tls == tls).collect();
        aims(&of, megabytes)
    });
    let mut table = table(&["what", "aim", "route", "plain", "TLS"], 3);
    for (plain, tls) in aims[0].iter().zip(&aims[1]) {
        table.add_row([plain.what, plain.aim, plain.route, &plain.reached, &tls.reached]);
    }
    format!("\n{}\n\n{}\n\n{table}", small(all), large(all, megabytes))
}

fn small(all: &[Figures]) -> Table {
    let mut header = vec!["route".to_owned(), "over".to_owned()];
    for callers in CALLERS {
        header.extend([format!("{callers}: requests/s"), "p50".to_owned(), "p99".to_owned()]);
    }
    let mut table = table(&header.iter().map(String::as_str).collect::<Vec<_>>(), 2);
    for figures in all {
        let mut row = vec![figures.name.to_owned(), over(figures).to_owned()];
        for nth in 0..CALLERS.len() {
            let of = |number: fn(Small) -> f64| {
                median(figures.rounds.iter().filter_map(|round| round.small[nth].map(number)))
            };
            row.push(shown(of(|small| small.rate), 1.0, 0, ""));
            row.push(shown(of(|small| small.median), 1.0, 0, " µs"));
            row.push(shown(of(|small| small.slow), 1.0, 0, " µs"));
        }
        table.add_row(row);
    }
    table
}

fn large(all: &[Figures], megabytes: f64) -> Table {
    let mut table = table(
        &["route", "over", "down", "up", "hub or server", "agent or client", "50 ms: down", "50 ms: up"],
        2,
    );
    for figures in all {
        let mut row = vec![figures.name.to_owned(), over(figures).to_owned()];
        for way in 0..2 {
            row.push(shown(
                median(figures.rounds.iter().filter_map(|round| round.large[way])),
                1.0,
                0,
                " ms",
            ));
        }
        row.push(shown(figures.memory.0, 1.0, 1, " MiB"));
        row.push(shown(figures.memory.1, 1.0, 1, " MiB"));
        for way in 0..2 {
            let milliseconds = median(figures.far.iter().filter_map(|took| took[way]));
            row.push(shown(milliseconds.map(|took| 1e3 / took), megabytes, 0, " MB/s"));
        }
        table.add_row(row);
    }
    table
}

/// What was to be reached on one of our routes.
struct Aim {
    what: &'static str,
    aim: &'static str,
    route: &'static str,
    reached: String,
}

fn aims(all: &[&Figures], megabytes: f64) -> Vec<Aim> {
    let find = |name| all.iter().find(|figures| figures.name == name).copied();
    let [direct, rathole, snyk] = [DIRECT, RATHOLE, SNYK].map(find);
    let rate = |round: &Round| Some(round.small[1]?.rate);
    let p50 = |round: &Round| Some(round.small[0]?.median);
    let mut out = Vec::new();
    for route in [IN_PROCESS, STAND_ALONE] {
        let own = find(route);
        let added = |figures| pairs(figures, direct, p50, |own, direct| own - direct);
        let added: Option<Vec<_>> = added(own)
            .zip(added(rathole))
            .map(|(own, peers)| own.iter().zip(&peers).map(|(own, peers)| own / peers).collect());
        let ratio = |peer, of: fn(&Round) -> Option<f64>| {
            pairs(own, peer, of, |own, peer| own / peer).and_then(|ratios| median(ratios.into_iter()))
        };
        let far = |way: usize| {
            let took = own.and_then(|own| median(own.far.iter().filter_map(|took| took[way])));
            took.map(|took| megabytes * 1e3 / took)
        };
        let mut add = |what, aim, reached| out.push(Aim { what, aim, route, reached });
        let times = |ratio: Option<f64>| shown(ratio, 1.0, 2, " times");
        add("16 callers: requests/s of rathole's", "at least 0.5 times", times(ratio(rathole, rate)));
        add("16 callers: requests/s of snyk-broker's", "at least 10 times", times(ratio(snyk, rate)));
        add(
            "1 caller: p50 added, of what rathole adds",
            "at most 1.5 times",
            times(added.and_then(|ratios| median(ratios.into_iter()))),
        );
        add(
            "100 MB down: rathole's time",
            "at most 1.5 times",
            times(ratio(rathole, |round| round.large[0])),
        );
        add("100 MB up: rathole's time", "at most 1.5 times", times(ratio(rathole, |round| round.large[1])));
        add("50 ms, one stream down", "at least 60 MB/s", shown(far(0), 1.0, 0, " MB/s"));
        add("50 ms, one stream up", "at least 60 MB/s", shown(far(1), 1.0, 0, " MB/s"));
    }
    out
}

/// What two have in each round, brought together.
fn pairs(
    one: Option<&Figures>,
    other: Option<&Figures>,
    of: impl Fn(&Round) -> Option<f64>,
    together: impl Fn(f64, f64) -> f64,
) -> Option<Vec<f64>> {
    let rounds = one?.rounds.iter().zip(&other?.rounds);
    Some(rounds.filter_map(|(one, other)| Some(together(of(one)?, of(other)?))).collect())
}

fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

fn over(figures: &Figures) -> &'static str {
    if figures.tls { "TLS" } else { "plain" }
}

fn shown(number: Option<f64>, factor: f64, digits: usize, unit: &str) -> String {
    number.map_or_else(|| "–".to_owned(), |number| format!("{:.digits$}{unit}", number * factor))
}

/// Words to the left, numbers to the right.
fn table(header: &[&str], words: usize) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::ASCII_MARKDOWN).set_header(header);
    for column in table.column_iter_mut().skip(words) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}
