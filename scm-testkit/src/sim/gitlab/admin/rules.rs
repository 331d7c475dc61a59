use crate::sim::gitlab::state::ProjectSettings;

/// When and how merge requests of a project can be merged.
#[derive(Debug, Clone, Default)]
pub struct MergeRules {
    settings: ProjectSettings,
}

impl MergeRules {
    /// Merge commits, no conditions, mergeability known at once: how projects start.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Only sources that are on top of their target, joined by a fast-forward.
    #[must_use]
    pub fn fast_forward(mut self) -> Self {
        "ff".clone_into(&mut self.settings.merge_method);
        self
    }

    /// Merge commits, of sources that are on top of their target.
    #[must_use]
    pub fn semi_linear(mut self) -> Self {
        "rebase_merge".clone_into(&mut self.settings.merge_method);
        self
    }

    /// The pipeline must have succeeded.
    #[must_use]
    pub fn pipeline_must_succeed(mut self) -> Self {
        self.settings.pipeline_must_succeed = true;
        self
    }

    /// All threads must be resolved.
    #[must_use]
    pub fn discussions_must_be_resolved(mut self) -> Self {
        self.settings.discussions_must_be_resolved = true;
        self
    }

    /// So many approvals are needed.
    #[must_use]
    pub fn approvals(mut self, required: u32) -> Self {
        self.settings.approvals_required = required;
        self
    }

    /// Every change of a merge request is followed by so many reads that say `checking`.
    #[must_use]
    pub fn checking_reads(mut self, reads: u32) -> Self {
        self.settings.mergeability_reads = reads;
        self
    }

    /// A rebase is shown as going on by so many reads.
    #[must_use]
    pub fn rebase_reads(mut self, reads: u32) -> Self {
        self.settings.rebase_reads = reads;
        self
    }

    pub(super) fn settings(self) -> ProjectSettings {
        self.settings
    }
}
