//! What GitLab sends and takes, as serde types. Tolerant: unknown fields are ignored, and whatever any supported version
//! may leave out or set to null is optional.

mod ci;
mod content;
mod instance;
mod merge_request;

pub(crate) use ci::{WireJob, WirePipeline, WireStatus};
pub(crate) use content::{
    WireAction, WireBranch, WireCommit, WireCommitRequest, WireCreateBranch, WireFile, WireTreeEntry,
};
pub(crate) use instance::{WireMetadata, WireProject, WireToken, WireUser, WireUserRef, WireVersion};
pub(crate) use merge_request::{
    WireCreateMergeRequest, WireLine, WireMerge, WireMergeRequest, WireNote, WireNoteBody,
    WireUpdateMergeRequest,
};
