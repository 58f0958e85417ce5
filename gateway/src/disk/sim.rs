#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// The process dies; what it wrote stays in the page cache.
    Kill,
    /// The machine dies; of what was not synced each sector is there, lost, or an older version.
    PowerLoss,
}
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind { Eio, NoSpace, ShortWrite }
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault { pub at_call: u64, pub kind: FaultKind }
#[derive(Debug)]
pub struct SimDisk {}
