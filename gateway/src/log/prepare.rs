/// What a [`super::LogWriter::prepare_step`] came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prepared {
    /// Nothing to do: enough segments stand ready.
    Ready,
    /// One step was done; more are needed.
    Progress,
    /// The disk is full: try again later.
    NoSpace,
    /// The log has its `log_bytes_max`: release something.
    BudgetFull,
}
