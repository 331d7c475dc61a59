//! What GitLab sends and takes, as serde types. Tolerant: unknown fields are ignored, and whatever any supported version
//! may leave out or set to null is optional.

mod ci;
mod comment;
mod content;
mod diff;
mod instance;
mod merge_request;

pub(crate) use ci::{WireJob, WireNewStatus, WirePipeline, WireStatus};
pub(crate) use comment::{WireDiscussion, WireLine, WireNewNote, WireNote};
pub(crate) use content::{
    WireAction, WireBranch, WireBranchAccess, WireBranchTip, WireCommit, WireCommitRequest, WireCreateBranch,
    WireCreateTag, WireFile, WireProtectedBranch, WireTag, WireTreeEntry,
};
pub(crate) use diff::{WireComparison, WireDiff, WireDiffRefs, WireNewLine, WireNewPosition, WireNewRange};
pub(crate) use instance::{
    WireGroup, WireId, WireMetadata, WireProject, WireToken, WireUser, WireUserRef, WireVersion,
};
pub(crate) use merge_request::{
    WireApprovals, WireApprove, WireCreateMergeRequest, WireMerge, WireMergeRequest, WireRebase,
    WireReviewer, WireUpdateMergeRequest,
};
