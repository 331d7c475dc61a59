//! Forms of `pom.xml`.

use scm_examples::analysis::{self, AdvisoryDb};

use crate::support::{analyse, diff, files, problems, steps};

fn dependency(group: &str, artifact: &str, version: &str) -> String {
    format!("<dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId>{version}</dependency>")
}

fn text(version: &str) -> String {
    dependency("org.apache.commons", "commons-text", version)
}

#[test]
fn forms() {
    let pom = format!(
        "\u{feff}<?xml version=\"1.0\"?>\r\n<project>\r\n<dependencyManagement><dependencies>\r\n{}\r\n</dependencies></dependencyManagement>\r\n\
         <dependencies>\r\n{}\r\n</dependencies>\r\n<profiles><profile><properties><v>\r\n 1.9 \r\n</v></properties><dependencies>\r\n{}\r\n</dependencies></profile></profiles>\r\n</project>",
        text("<version> 1.8 </version>"),
        text(""),
        text("<version>${v}</version>"),
    );
    let files = files([("pom.xml", &pom)]);
    let found = analyse(&files);
    assert!(problems(&found).is_empty(), "{:?}", problems(&found));
    let changed = diff(&files, &found);
    assert_eq!(changed.len(), 2, "{changed:#?}");
    assert!(changed[0].contains("<version> 1.10.0 </version>"));
    assert_eq!(changed[1], "pom.xml:10 1.9 => 1.10.0");
    assert_eq!(found.fixes[0].key(), "Maven:org.apache.commons:commons-text#1.8:pom.xml");
}

#[test]
fn forms_that_stay() {
    for (body, reason) in [
        (text(""), "cannot be judged: its version is managed in a file that is not here"),
        (
            text("<version>${parent.v}</version>"),
            "cannot be judged: its version `${parent.v}` is not defined in this pom",
        ),
        (
            text("<version>1.${minor}</version>"),
            "cannot be judged: its version `1.${minor}` is put together from properties",
        ),
        (
            text("<version>[1.5,2)</version>"),
            "1.5 is vulnerable, 1.10.0 is not: `[1.5,2)` is a version range",
        ),
        (
            text("<version>1.<!-- x -->9</version>"),
            "cannot be judged: its version is written in parts or with entities",
        ),
        (text("<version>LATEST</version>"), "cannot be judged: `LATEST` names no lowest version"),
    ] {
        let found = analyse(&files([(
            "pom.xml",
            &format!("<project><dependencies>{body}</dependencies></project>"),
        )]));
        assert!(found.fixes.is_empty(), "{body}");
        assert_eq!(problems(&found), [format!("pom.xml:1: org.apache.commons:commons-text: {reason}")]);
    }
}

#[test]
fn properties_that_refer_to_each_other() {
    let pom = format!(
        "<project><properties><a>${{b}}</a><b>${{a}}</b></properties><dependencies>{}</dependencies></project>",
        text("<version>${a}</version>")
    );
    assert!(problems(&analyse(&files([("pom.xml", &pom)])))[0].ends_with("properties refer to each other"));
}

#[test]
fn a_property_shared_with_another_group() {
    let pom = format!(
        "<project><properties><v>1.9</v></properties><dependencies>{}{}</dependencies></project>",
        text("<version>${v}</version>"),
        dependency("com.example", "other", "<version>${v}</version>")
    );
    let found = analyse(&files([("pom.xml", &pom)]));
    assert!(
        problems(&found)[0].ends_with("its version is a property that `other` uses too"),
        "{:?}",
        problems(&found)
    );
}

#[test]
fn a_property_of_one_group_rises_once() {
    let records: Vec<String> = [("a", "1.1"), ("b", "1.2")]
        .iter()
        .map(|(artifact, fixed)| {
            format!(
                r#"{{"id":"{artifact}","affected":[{{"package":{{"ecosystem":"Maven","name":"g:{artifact}"}},"ranges":[{{"type":"ECOSYSTEM","events":[{{"introduced":"0"}},{{"fixed":"{fixed}"}}]}}]}}]}}"#
            )
        })
        .collect();
    let db = AdvisoryDb::from_json(&records.join("\n")).unwrap();
    let pom = format!(
        "<project><properties><v>1.0</v></properties><dependencies>{}{}</dependencies></project>",
        dependency("g", "a", "<version>${v}</version>"),
        dependency("g", "b", "<version>${v}</version>")
    );
    let files = files([("pom.xml", &pom)]);
    let found = analysis::analyse(&files, &db, None);
    assert_eq!(steps(&found), ["g:a 1.0 1.2", "g:b 1.0 1.2"]);
    assert!(diff(&files, &found)[0].contains("<v>1.2</v>"));
}

#[test]
fn managed_by_a_parent_in_the_same_repository() {
    let parent = format!(
        "<project><dependencyManagement><dependencies>{}</dependencies></dependencyManagement></project>",
        text("<version>1.9</version>")
    );
    let child = format!(
        "<project><parent><groupId>g</groupId><artifactId>p</artifactId><version>1</version></parent><dependencies>{}</dependencies></project>",
        text("")
    );
    let files = files([("pom.xml", &parent), ("module/pom.xml", &child)]);
    let found = analyse(&files);
    assert!(problems(&found).is_empty());
    assert_eq!(found.fixes.len(), 1);
    assert_eq!(found.fixes[0].manifest, "pom.xml");
}
