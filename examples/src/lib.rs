//! What the example programs share.
//!
//! [`analysis`] is the pure half of `remediate`: it finds vulnerable dependencies in the text of a repository's
//! manifests and lock files and says which bytes have to change. It knows no server, no network and no clock.
//! [`connections`] opens what a configuration file names, or the embedded demonstration. [`catalogue`] keeps what a run has
//! listed. [`demo`] is the demonstration itself. [`output`] prints. [`guide`]
//! is what the examples of the guide run on.

pub mod analysis;
pub mod catalogue;
pub mod connections;
pub mod demo;
pub mod guide;
pub mod output;

/// The pages that users read, as tests.
#[cfg(doctest)]
mod pages {
    macro_rules! pages {
        ($($name:ident: $path:literal,)+) => {
            $(#[doc = include_str!(concat!("../../", $path))] mod $name {})+
        };
    }

    pages! {
        readme: "README.md",
        connect: "docs/guide/01-connect.md",
        discover: "docs/guide/02-discover.md",
        read: "docs/guide/03-read.md",
        branch: "docs/guide/04-branch.md",
        commit: "docs/guide/05-commit.md",
        pull_request: "docs/guide/06-pull-request.md",
        comment: "docs/guide/07-comment.md",
        ci: "docs/guide/08-ci.md",
        align: "docs/guide/09-align.md",
        track: "docs/guide/10-track.md",
        rotate: "docs/guide/11-rotate.md",
        errors: "docs/guide/12-errors.md",
        lists: "docs/guide/13-lists.md",
    }
}
