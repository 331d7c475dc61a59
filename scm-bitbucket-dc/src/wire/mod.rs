//! What Bitbucket sends and takes, as serde types. Tolerant: unknown fields are ignored, and whatever any supported
//! version may leave out or set to null is optional.

mod ci;
mod comment;
mod content;
mod diff;
mod instance;
mod pull_request;

pub(crate) use ci::{WireAnnotation, WireAnnotations, WireBuild, WireNewBuild, WireReport};
pub(crate) use comment::{
    WireActivity, WireAnchor, WireChangeComment, WireComment, WireId, WireLineMarker, WireLineSpan,
    WireNewAnchor, WireNewComment, WirePath,
};
pub(crate) use content::{
    WireBranch, WireBrowse, WireBrowseRaw, WireCommit, WireCreateBranch, WireCreateTag, WireDeleteBranch,
    WireEntry, WireKind, WireMatcher, WirePerson, WireRestriction, WireTag,
};
pub(crate) use diff::{WireChange, WireDiff, WireFileDiff, WireHunk, WireLine};
pub(crate) use instance::{
    WireAccessToken, WirePage, WireProject, WireProperties, WireRepository, WireTime, WireUser,
};
pub(crate) use pull_request::{
    WireCreatePullRequest, WireMerge, WireMergeability, WireNewRef, WireNewReviewer, WireParticipant,
    WireProjectKey, WirePullRequest, WireRebased, WireRefRepository, WireSettings, WireUpdatePullRequest,
    WireUserName, WireVersion,
};
