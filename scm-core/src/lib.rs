#![doc = include_str!("../README.md")]

pub mod capability;
pub mod check;
pub mod credential;
pub mod error;
pub mod ext;
pub mod id;
mod macros;
pub mod model;
pub mod ops;
pub mod page;
pub mod pipeline;
pub mod redact;
pub mod scm;
pub mod time;
pub mod transport;

pub use capability::{Capabilities, CommitGuard};
pub use check::{CheckOptions, CheckReport, Code, Finding, Outcome, Purpose, Rung, RungReport};
pub use credential::{
    CallbackCredential, Credential, CredentialProvider, FileCredential, StaticCredential, read_secret,
};
pub use error::{Delivery, Error, ErrorKind, Result};
pub use ext::{
    BranchesExt, ChecksExt, CiLogsExt, CommentsExt, CommitsExt, ContentsExt, PullRequestsExt,
    RepositoriesExt, WebhooksExt,
};
pub use id::{
    BlobId, BranchName, CheckId, CommentId, FilePath, JobId, NamespaceId, OperationId, PipelineId,
    PullRequestId, RepoId, Revision, Sha, TagName, ThreadId, UserName, WebhookId,
};
pub use model::*;
pub use ops::*;
pub use page::{Cursor, Items, Page, PageLimits, Pages};
pub use scm::{CallOptions, CorrelationId, Priority, Scm};
pub use time::{Clock, Date, SystemClock, Timestamp};
pub use transport::{Body, HttpTransport, Route, Transport, TransportError};
